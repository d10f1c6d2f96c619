"""Requests that take their time, and such that are large."""

from __future__ import annotations

from random import Random

from support.abuse.table import HOST, JSON, TASKS, get, kind, post

# -- that take their time -----------------------------------------------------------------------------------------------


@kind()
def heads_that_do_not_end(random: Random) -> bytes:
    head = (
        b"GET /live HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: y\r\n" % number for number in range(random.randrange(50)))
    )
    return head[: random.randrange(len(head))]


@kind()
def bodies_that_do_not_end(random: Random) -> bytes:
    framing = random.choice([b"Content-Length: 1000", b"Transfer-Encoding: chunked", b"Content-Length: 1048576"])
    head = b"POST " + TASKS + b" HTTP/1.1\r\n" + HOST + JSON + framing + b"\r\n\r\n"
    return head + (b"5\r\n{\r\n\r\n" if b"chunked" in framing else b"{" * random.randrange(500))


@kind(2)
def nothing_much(random: Random) -> bytes:
    return random.choice(
        [
            b"",
            b"\r\n" * random.randrange(1, 50),
            b"\n",
            b"\r",
            b"\x00",
            b" ",
            get(b"/live") + b"\r\n",
            get(b"/live") + b"\r\n\r\nG",
        ]
    )


@kind(3)
def streams_that_nobody_reads(random: Random) -> bytes:
    stream = random.choice(
        [
            b"/api/v1/events",
            b"/api/v1/tasks/honest-1/progress/stream?history=true",
            b"/api/v1/progress/stream?task_ids=honest-1,nobody",
        ]
    )
    return get(stream) + random.choice([b"", b"\x00", get(b"/live"), b"\r\n", b"POST", get(b"/live") + b"\x16\x03\x01"])


# -- that are large -----------------------------------------------------------------------------------------------------


@kind()
def large_headers(random: Random) -> bytes:
    size = random.choice([5_000, 60_000, 66_000, 200_000, 1_000_000])
    return get(
        b"/live",
        random.choice(
            [
                b"X: " + b"x" * size,
                b"x" * size + b": x",
                b"\r\n".join([b"X: 1"] * (size // 6)),
                b"Cookie: " + b"a=b; " * (size // 5),
                b"X:" + b" " * size + b"y",
                b"Authorization: Bearer " + b"\xff" * size,
            ]
        ),
    )


@kind()
def large_urls(random: Random) -> bytes:
    size = random.choice([3_000, 5_000, 15_000, 17_000, 70_000, 300_000])
    return get(
        random.choice(
            [
                b"/" + b"x" * size,
                TASKS + b"/" + b"%2F" * (size // 3),
                TASKS + b"?q=" + b"x" * size,
                TASKS + b"?" + b"a=1&" * (size // 4),
                b"/" * size,
                TASKS + b"/a" * (size // 2),
                TASKS + b"?" + b"&" * size,
                TASKS + b"/" + b"/.." * (size // 3),
            ]
        )
    )


@kind()
def chunk_bombs(random: Random) -> bytes:
    chunk = random.choice(
        [
            b"1\r\n \r\n" * 20_000,
            b"1;" + b"x" * 3_000 + b"\r\n \r\n",
            b"10000\r\n" + b" " * 65_536 + b"\r\n",
            b"0" * 1_000 + b"1\r\n \r\n",
            b'1;a="' + b"\\\x22" * 200 + b'"\r\n \r\n',
        ]
    )
    return (
        b"POST "
        + TASKS
        + b" HTTP/1.1\r\n"
        + HOST
        + JSON
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + chunk * max(1, 1_200_000 // len(chunk))
    )


@kind()
def large_bodies(random: Random) -> bytes:
    body = random.choice(
        [
            b" " * 1_100_000,
            b"[" * 1_000_000,
            b'"' + b"\\u0000" * 150_000 + b'"',
            b'{"type":"demo","payload":"' + b"x" * 1_048_000 + b'"}',
            b"{" + b'"a":1,' * 100_000 + b'"a":1}',
            b'{"type":"demo","payload":' + b"9" * 500_000 + b"}",
            b'{"type":"demo","metadata":{' + b",".join(b'"%d":""' % n for n in range(50_000)) + b"}}",
        ]
    )
    return post(body, path=random.choice([TASKS, TASKS + b"/batch", b"/api/v1/schedules"]))


@kind()
def huge_batches(random: Random) -> bytes:
    task = random.choice([b"{}", b"0", b"null", b'{"type":1}', b'{"type":"no-such"}', b'{"type":"\\ud800"}', b"[]"])
    return post(
        b'{"tasks":[' + b",".join([task] * random.choice([100, 10_000, 10_001, 50_000])) + b"]}", path=TASKS + b"/batch"
    )
