"""Assets: the style, the scripts and the picture, under addresses that change with their content, so browsers may keep them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from msgspec import Struct

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Asset(Struct, frozen=True):
    """A file, and what tells its content."""

    content: bytes
    version: str
    media_type: str

    @property
    def tag(self) -> str:
        """Its entity tag."""
        return f'"{self.version}"'


@cache
def assets() -> Mapping[str, Asset]:
    """Return all assets by their names."""
    return {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _TYPES}


def asset_path(name: str) -> str:
    """Return where an asset is found."""
    return f"/static/{assets()[name].version}/{name}"


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, hashlib.blake2b(content, digest_size=8).hexdigest(), _TYPES[path.suffix])
