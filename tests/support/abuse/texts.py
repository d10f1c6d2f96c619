"""JSON and texts in all places: ids, names, values, queries."""

from __future__ import annotations

from random import Random

from support.abuse.table import HOST, LINE, TASK, TASKS, get, kind, post

# -- JSON ---------------------------------------------------------------------------------------------------------------


@kind()
def deep_json(random: Random) -> bytes:
    depth = random.choice([50, 101, 990, 1_000, 5_000, 100_000])
    opened, closed = random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
    value = (
        opened * depth + random.choice([b"1", b"", b"[", b"{}"]) + closed * random.choice([depth, depth - 1, depth + 1])
    )
    place = random.choice(
        [
            b"%s",
            b'{"type":"demo","payload":%s}',
            b'{"type":"demo","payload":{},"metadata":%s}',
            b'{"type":"demo","payload":{},"unique":%s}',
            b'{"type":%s}',
            b'{"tasks":%s}',
            b'{"tasks":[{"type":"demo","payload":%s}]}',
            b'{"type":"demo","nothing":%s}',
        ]
    )
    path = random.choice([TASKS, TASKS + b"/batch", b"/api/v1/schedules"])
    return post(place % value, path=path)


@kind()
def strange_json(random: Random) -> bytes:
    values = [
        b"\xff",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\ud83d\\u0000"',
        b'"\x00"',
        b'"\n"',
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"1" * 5_000,
        b"-",
        b"01",
        b"1.",
        b"truex",
        b"'a'",
        b"//",
        b"[1,]",
        b'{"a":1,"a":2}',
        b'{"":{}}',
        b"\xef\xbb\xbf1",
        "1".encode("utf-16"),
        b'"\\x"',
        b'"' + LINE.encode() + b'"',
        b'"\\u001b[31m\\u0007"',
        b"",
        b'{"a"}',
        b"1 2",
    ]
    value = random.choice(values)
    fields = {b"type": b'"demo"', b"payload": b"{}"}
    fields[
        random.choice(
            [
                b"type",
                b"payload",
                b"queue",
                b"task_id",
                b"timeout",
                b"process_at",
                b"process_in",
                b"deadline",
                b"retention",
                b"unique",
                b"group",
                b"metadata",
                b"max_retries",
                b"\xff",
                b"\\u0000",
            ]
        )
    ] = value
    body = random.choice(
        [b"{" + b",".join(b'"' + name + b'":' + field for name, field in fields.items()) + b"}", value]
    )
    return post(
        body,
        path=random.choice([TASKS, TASKS + b"/batch", TASKS + b"/honest-1", b"/api/v1/schedules"]),
        method=random.choice([b"POST", b"PATCH", b"PUT"]),
    )


# -- texts --------------------------------------------------------------------------------------------------------------

TEXTS = [
    "\x00",
    "a\x00b",
    LINE,
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\x1b[2J\x1b[31mforged",
    "\x9b31m",
    "\u2028forged",
    "\u202eforged",
    "\x7f\x08\x08",
    "a/b",
    "..",
    ".",
    "../../health",
    "%00",
    "%2e%2e%2f",
    "%",
    "*",
    "{id}",
    "'\"`;--",
    "\ufeff",
    "é" * 300,
    "\U0001f389",
    "\ud7ff",
    " ",
    "\t",
    "\n",
    "x" * 257,
    "${jndi:x}",
    "{q}",
    "asynq:{default}:pending",
    "batch",
    "None",
    "-1",
    "0" * 3000,
]
"""Texts for ids, names and values."""
BROKEN = [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\x80", b"\xc0\x80"]
"""Bytes that are no UTF-8."""


def _escaped(random: Random) -> bytes:
    """A text, or bytes that are none, as they may stand in a URL."""
    data = random.choice(TEXTS).encode() if random.random() < 0.75 else random.choice(BROKEN)
    form = "%%%02x" if random.random() < 0.5 else "%%%02X"
    return b"".join(byte.to_bytes() if chr(byte).isalnum() and byte < 128 else (form % byte).encode() for byte in data)


@kind()
def strange_ids(random: Random) -> bytes:
    path = random.choice(
        [
            TASKS + b"/%s",
            TASKS + b"/%s/result",
            TASKS + b"/%s/progress",
            TASKS + b"/%s/progress/history",
            TASKS + b"/%s/cancel",
            TASKS + b"/%s/run",
            b"/api/v1/queues/%s",
            b"/api/v1/queues/%s/groups",
            b"/api/v1/queues/%s/history",
            b"/api/v1/task-types/%s",
            b"/api/v1/schedules/%s",
            b"/api/v1/queues/%s/pause",
            b"/%s",
            b"/docs/%s",
        ]
    )
    method = random.choice([b"GET", b"GET", b"DELETE", b"POST", b"HEAD", b"OPTIONS"])
    name = _escaped(random)
    return method + b" " + path % name + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"


@kind()
def bare_bytes_in_the_target(random: Random) -> bytes:
    data = random.choice(
        [
            *BROKEN,
            b"\x00",
            b"\x01",
            b"\x7f",
            b"\t",
            b" ",
            b"\r",
            b"\n",
            b"\\",
            b"\x1b[31m",
            b"\x0b",
            b"<",
            b"|",
            b"{",
            "é".encode(),
        ]
    )
    return get(random.choice([TASKS + b"/" + data, TASKS + b"?q=" + data, b"/" + data, data + b"/live"]))


@kind(2)
def strange_header_values(random: Random) -> bytes:
    name = random.choice(
        [
            b"Idempotency-Key",
            b"X-Request-ID",
            b"If-Match",
            b"If-None-Match",
            b"Last-Event-ID",
            b"Authorization",
            b"X-API-Key",
            b"Host",
            b"Origin",
            b"Content-Type",
            b"X-Forwarded-For",
            b"X-Forwarded-Host",
            b"Accept",
            b"Cookie",
            b"User-Agent",
            b"Content-Encoding",
            b"Access-Control-Request-Method",
        ]
    )
    plain = [
        random.choice(TEXTS).encode(),
        random.choice(BROKEN),
        b"Bearer " + b"\x00",
        b"Basic \xff",
        b"gzip",
        b"*",
        b"a," * 5_000,
        b"W/" * 3_000,
        b'"' * 300,
        b"text/plain",
        b"null",
        b"application/json; charset=utf-7",
        b"multipart/form-data; boundary=" + b"-" * 200,
        b"0-0",
        b"999999999999999999999-1",
        b"9" * 20,
    ]
    value = random.choice(plain)
    target = random.choice(
        [TASKS + b"/honest-1", TASKS + b"/honest-1/progress/stream", b"/api/v1/queues/stats", b"/docs"]
    )
    return random.choice([get(target, name + b": " + value), post(TASK, name + b": " + value)])


@kind()
def strange_queries(random: Random) -> bytes:
    names = [
        b"queue",
        b"status",
        b"page",
        b"size",
        b"type",
        b"q",
        b"cursor",
        b"group",
        b"wait",
        b"history",
        b"start_id",
        b"days",
        b"next",
        b"force",
        b"task_ids",
        b"%00",
        b"",
        b"queue[]",
        b"\xff",
    ]
    values = [
        b"-1",
        b"1e9",
        b"9" * 5_000,
        b"0x10",
        b"%00",
        b"%ff",
        b"%0d%0a%0d%0aHTTP/1.1",
        b"NaN",
        b"-9223372036854775809",
        b"9223372036854775807",
        b"true",
        b"1h" * 100,
        b"999999999h",
        b"-1s",
        b"1ns",
        b"[[[[",
        b"%5b" * 1_000,
        b"a,b," * 500,
        b"",
        b"0-0",
        b"+",
        b"%",
        b"%zz",
        b"*",
        b"asynq:*",
        _escaped(random),
    ]
    path = random.choice(
        [
            TASKS,
            TASKS + b"/honest-1",
            TASKS + b"/honest-1/result",
            TASKS + b"/honest-1/progress/stream",
            b"/api/v1/queues/stats",
            b"/api/v1/queues/default/history",
            b"/api/v1/progress/stream",
            b"/api/v1/schedules/x",
            b"/api/v1/events",
            b"/openapi.json",
        ]
    )
    query = b"&".join(
        random.choice(names) + random.choice([b"=", b"==", b""]) + random.choice(values)
        for _ in range(random.randrange(1, 4))
    )
    return get(path + b"?" + query)


@kind()
def strange_pages(random: Random) -> bytes:
    """What browsers send: forms and cookies."""
    field, value = random.choice([b"key", b"next", b"queue", b"token", b"force", b"%FF", b""]), _escaped(random)
    pair = field + b"=" + value
    body = random.choice(
        [pair, b"&".join([pair] * 3), field + value + b"&&=&", field + b"[]=" + value, b"&".join([pair] * 2_000)]
    )
    cookies = random.choice(
        [
            b"taskflow_session=" + random.choice(BROKEN),
            b"taskflow_session=a.b.c.d",
            b"=;;=;",
            b"a" * 5_000 + b"=1",
            b'taskflow_message="\\";taskflow_session="',
        ]
    )
    path = random.choice([b"/login", b"/logout", b"/queue/pause", b"/queue/remove", b"/queue/resume"])
    pages = [
        b"/",
        b"/dashboard",
        b"/login?next=" + value,
        b"/servers",
        b"/changes",
        b"/static/%s/app.js" % value,
        b"/?q=" + value,
    ]
    head = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n" % len(body)
    return random.choice(
        [
            get(random.choice(pages), b"Accept: text/html", b"Cookie: " + cookies),
            b"POST " + path + b" HTTP/1.1\r\n" + HOST + head + b"Cookie: " + cookies + b"\r\n\r\n" + body,
        ]
    )
