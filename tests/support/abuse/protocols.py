"""Targets, methods and protocols that are others, and many requests at once."""

from __future__ import annotations

from random import Random

from support.abuse.table import FORGED, HIDDEN, HOST, JSON, TASK, TASKS, get, kind, post

# -- targets, methods, protocols ----------------------------------------------------------------------------------------


@kind()
def strange_targets(random: Random) -> bytes:
    targets = [
        b"*",
        b"http://127.0.0.1/live",
        b"http://other.example/live",
        b"http://",
        b"http://user:secret@127.0.0.1/live",
        b"https://127.0.0.1:99999/live",
        b"http://[::1/live",
        b"ftp://x/live",
        b"127.0.0.1:80",
        b"live",
        b"//live",
        b"//other.example/live",
        b"/../live",
        b"/./live",
        b"/live/",
        b"/live//",
        b"/live;a=b",
        b"/live#x",
        b"/live?#",
        b"?a=b",
        b"#",
        b"/live\\..\\",
        b"/%6Cive",
        b"/live%00",
        b"/%2e%2e/live",
        b"javascript:x",
        b"http:///live",
        b"/live HTTP/1.1\r\nX:",
    ]
    method = random.choice([b"GET", b"OPTIONS", b"HEAD", b"POST"])
    return method + b" " + random.choice(targets) + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"


@kind(2)
def strange_methods(random: Random) -> bytes:
    method = random.choice(
        [
            b"TRACE",
            b"CONNECT",
            b"TRACK",
            b"PROPFIND",
            b"get",
            b"Get",
            b"GETT",
            b"",
            b"G\x00T",
            b"POST\xff",
            b"X" * 5_000,
            b"M-SEARCH",
            b"PURGE",
            b"LOCK",
            b"QUERY",
            b"SOURCE",
            b"DESCRIBE",
            b"PRI",
            b"GET\tGET",
            b'"GET"',
        ]
    )
    target = random.choice([b"/live", TASKS, TASKS + b"/honest-1", b"127.0.0.1:443", b"*"])
    return (
        method
        + b" "
        + target
        + b" HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 0\r\n\r\n"
        + random.choice([b"", get(b"/live")])
    )


@kind()
def strange_versions(random: Random) -> bytes:
    version = random.choice(
        [
            b"HTTP/0.9",
            b"HTTP/1.2",
            b"HTTP/2.0",
            b"HTTP/9.9",
            b"HTTP/1.1.1",
            b"HTTP/11",
            b"http/1.1",
            b"HTTP/1",
            b"HTTP/",
            b"",
            b"ICE/1.0",
            b"RTSP/1.0",
            b"HTTP/1.1 x",
            b"HTTP/-1.1",
            b"HTTP/1.\xb9",
        ]
    )
    return b"GET /live " + version + b"\r\n" + random.choice([HOST, b""]) + b"\r\n"


@kind()
def other_protocols(random: Random) -> bytes:
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + random.randbytes(18)
    others = [
        tls,
        http2,
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"PING\r\n",
        b"EHLO x\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /smuggled-by-proxy HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n!\x11\x11\n",
        b"SSH-2.0-x\r\n",
        b"\x05\x01\x00",
        random.randbytes(random.randrange(1, 3_000)),
        b"GET /live\r\n",
        b"{}\n",
        b"\x00" * 1_000,
    ]
    return random.choice(others)


@kind(2)
def upgrades(random: Random) -> bytes:
    to = random.choice([b"websocket", b"h2c", b"HTTP/2.0", b"TLS/1.0", b"WebSocket, h2c", b"x" * 200, b""])
    more = [
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ]
    connection = random.choice([b"Upgrade", b"keep-alive, Upgrade", b"upgrade, HTTP2-Settings", b"Upgrade, close"])
    request = get(
        random.choice([b"/live", b"/api/v1/events", TASKS]), b"Connection: " + connection, b"Upgrade: " + to, *more
    )
    return request + random.choice([b"", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", get(b"/live"), b"\r\n"])


@kind(2)
def expectations(random: Random) -> bytes:
    value = random.choice(
        [b"100-continue", b"100-Continue", b"100-continue, 100-continue", b"200-ok", b"", b"100-continue\x0b"]
    )
    body = random.choice([b"", TASK, b"{"])
    length = random.choice([len(body), 1_000, 10**8, 10**15])
    target = random.choice([TASKS, TASKS + b"/batch", b"/live", b"/nothing"])
    return (
        b"POST "
        + target
        + b" HTTP/1.1\r\n"
        + HOST
        + JSON
        + b"Expect: "
        + value
        + b"\r\nContent-Length: %d\r\n\r\n" % length
        + body
    )


@kind()
def conditions_and_ranges(random: Random) -> bytes:
    headers = [
        b"Range: bytes=0-0",
        b"Range: bytes=-1",
        b"Range: bytes=" + b"0-1," * 2_000,
        b"If-Range: x",
        b"Connection: Host",
        b"Connection: close, " + b"x," * 2_000,
        b"Connection: Transfer-Encoding",
        b"Keep-Alive: timeout=999999, max=0",
        b"TE: trailers",
        b"Trailer: Content-Length",
        b"Max-Forwards: -1",
        b"Accept-Encoding: gzip;q=nan",
        b"Via: " + b"1.1 x," * 500,
        b"Content-Range: bytes 0-1/2",
        b"Content-MD5: x",
        b"X-HTTP-Method-Override: DELETE",
        b"X-Original-URL: /smuggled",
        b"X-Rewrite-URL: /smuggled",
        b"Forwarded: for=x;host=" + b"y" * 300,
    ]
    chosen = random.sample(headers, random.randrange(1, 5))
    return random.choice([get(TASKS + b"/honest-1", *chosen), get(b"/docs", *chosen), post(TASK, *chosen)])


@kind()
def strange_hosts(random: Random) -> bytes:
    hosts = [
        b"",
        b"Host: a\r\nHost: b\r\n",
        b"Host: \r\n",
        b"Host: a, b\r\n",
        b"Host: user@127.0.0.1\r\n",
        b"Host: [::1\r\n",
        b"Host: 127.0.0.1:99999999\r\n",
        b"Host: /\r\n",
        b"Host: " + b"a." * 5_000 + b"\r\n",
        b"Host: \xff\r\n",
        b"Host : 127.0.0.1\r\n",
        b"Host: {%s}\r\n" % FORGED.encode(),
    ]
    return (
        b"GET "
        + random.choice([b"/live", TASKS, b"/openapi.json"])
        + b" HTTP/1.1\r\n"
        + random.choice(hosts)
        + b"Origin: http://a\r\n\r\n"
    )


# -- many at once -------------------------------------------------------------------------------------------------------


@kind(10_000)
def pipelines(random: Random) -> bytes:
    one = random.choice(
        [
            get(b"/live"),
            get(b"/health"),
            get(TASKS + b"/honest-1"),
            post(TASK),
            get(b"/nothing"),
            b"HEAD /live HTTP/1.1\r\n" + HOST + b"\r\n",
            get(TASKS + b"/honest-0/result?wait=300ms"),
        ]
    )
    count = random.choice([2, 5, 20, 200, 5_000])
    return one * min(count, 500_000 // len(one)) + random.choice(
        [b"", b"\x00", b"GET ", get(b"/live", b"Connection: close"), b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
    )


@kind(2)
def behind_a_last_request(random: Random) -> bytes:
    last = random.choice(
        [
            get(b"/live", b"Connection: close"),
            b"GET /live HTTP/1.0\r\n\r\n",
            get(b"/live", b"Connection: close, keep-alive"),
        ]
    )
    return last + random.choice([HIDDEN, b"x" * 100_000, b"\r\n\r\n" + HIDDEN])
