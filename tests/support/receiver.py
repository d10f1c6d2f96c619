"""A real HTTP server on the loopback address that answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.servers import require


@dataclass
class Reply:
    """What the receiver answers to one request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: threading.Event | None = None
    """The answer waits until it is set."""


@dataclass
class Request:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    """The names are in lower case."""
    body: bytes


@dataclass
class Receiver:
    """The receiver: `url`, the requests so far, and the replies to the next ones (after them: 200)."""

    url: str
    requests: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def reply_with(self, *replies: Reply | int) -> None:
        """Answer the next requests so; a number is a status."""
        self.replies += [Reply(reply) if isinstance(reply, int) else reply for reply in replies]

    @property
    def bodies(self) -> Sequence[bytes]:
        """The bodies that came."""
        return [request.body for request in self.requests]


@contextmanager
def receiving(tls: ssl.SSLContext | None = None, *, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver at a port, 0 for one of its own; with a context it speaks TLS."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # whoever sent it is gone, perhaps killed in the middle of it
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.replies.pop(0) if receiver.replies else Reply()
            receiver.requests.append(Request(self.command, self.path, headers, body))
            if reply.hold is not None:
                reply.hold.wait(30)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST  # noqa: N815 - the name is http.server's

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128  # the default, 5, lets many connections at once wait for seconds

        def handle_error(self, *args: object) -> None:
            """Clients may hang up whenever they like."""

    server = Server(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(folder: Path, names: str) -> Path:
    """Make key.pem and cert.pem in a folder, for names such as `DNS:localhost,IP:127.0.0.1`; return the folder."""
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    named = ["-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    command = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *named, *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder
