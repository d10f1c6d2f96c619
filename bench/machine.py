"""The machine and the programs that were measured on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from bench import processes

_CPU_FACTS = Path("/proc/cpuinfo")
_QUIET = 0.3
"""The load per core up to which a machine counts as quiet."""


def facts() -> dict[str, str]:
    """Return what readers need to judge the figures; nothing in it names the machine."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Redis server": _server(),
        "uvloop": _version_of("uvloop"),
        "redis-py": _version_of("redis"),
        "Go": _go(),
    }


def load() -> float:
    """Return how many processes wanted a processor, on average over the last minute."""
    return os.getloadavg()[0]


def busy_note(load: float, cores: int) -> list[str]:
    """Return what readers must know if others were at work when the measurements began."""
    if load <= cores * _QUIET:
        return []
    return [
        f"others were at work: the load average was {load:.1f} on {cores} cores at the start, so these figures say little"
    ]


def _processor() -> str:
    """Return the processor's name, with what tells generations of the same name apart."""
    text = _CPU_FACTS.read_text() if _CPU_FACTS.exists() else ""
    first = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    known = {name.strip(): value.strip() for name, _, value in first}
    if "model name" not in known:
        return platform.machine()
    more = {"cpu family": "family {}", "model": "model {}", "cpu MHz": "{} MHz"}
    told = [words.format(known[name].partition(".")[0]) for name, words in more.items() if name in known]
    return f"{known['model name']} ({', '.join(told)})" if told else known["model name"]


def _server() -> str:
    with processes.server() as url, processes.admin(url) as redis:
        info = redis.info("server")
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info[f'{name}_version']}, no persistence, loopback TCP"


def _version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        return "none"
    return subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
