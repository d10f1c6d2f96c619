"""Where a request ends: framings that two readers may read differently, with a hidden request behind them."""

from __future__ import annotations

from random import Random

from support.abuse.table import HIDDEN, HOST, JSON, TASK, TASKS, framed, kind


@kind()
def both_lengths(random: Random) -> bytes:
    length = b"Content-Length: %d\r\n" % random.choice([0, 3, 5, 28, len(HIDDEN) + 5, 10**9])
    coding = random.choice(
        [b"Transfer-Encoding: chunked\r\n", b"TRANSFER-ENCODING:chunked\r\n", b"transfer-encoding:\tchunked \r\n"]
    )
    return framed(random, random.choice([length + coding, coding + length]), b"0\r\n\r\n")


@kind()
def two_lengths(random: Random) -> bytes:
    first, second = random.choice([(0, 28), (28, 0), (5, 28), (28, 28 + len(HIDDEN)), (28, 10**18)])
    form = random.choice(
        [
            b"Content-Length: %d\r\nContent-Length: %d\r\n",
            b"Content-Length: %d, %d\r\n",
            b"Content-Length: %d\r\ncontent-length : %d\r\n",
        ]
    )
    return framed(random, form % (first, second), TASK)


@kind()
def strange_lengths(random: Random) -> bytes:
    values = [
        b"-1",
        b"+28",
        b"2 8",
        b"0x1c",
        b"1e1",
        b"28,28",
        b"",
        b" ",
        b"28;",
        b"\xb2",
        b"28\x00",
        b"28\x0b",
        b"NaN",
        str(2**64 + 28).encode(),
        str(2**63).encode(),
        b"9" * 4000,
    ]
    return framed(random, b"Content-Length: " + random.choice(values) + b"\r\n", TASK)


@kind()
def strange_codings(random: Random) -> bytes:
    values = [
        b"xchunked",
        b"chunked, identity",
        b"identity, chunked",
        b"gzip, chunked",
        b"\x0bchunked",
        b"chunked\x0b",
        b"chunked;q=0.5",
        b'"chunked"',
        b"chunked\x00",
        b"chunk\xc3\xa9d",
        b"identity",
        b"",
        b",chunked",
        b"chunked,",
        b"gzip",
    ]
    name = random.choice(
        [
            b"Transfer-Encoding",
            b"Transfer-Encoding\x00",
            b" Transfer-Encoding",
            b"Transfer-Encoding ",
            b"X: y\r\n\tTransfer-Encoding",
        ]
    )
    lines = [name + b": " + random.choice(values) + b"\r\n"]
    if random.random() < 0.5:
        lines.append(
            random.choice(
                [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: identity\r\n"]
            )
        )
    random.shuffle(lines)
    return framed(random, b"".join(lines), b"0\r\n\r\n")


@kind()
def strange_chunks(random: Random) -> bytes:
    sizes = [
        b"0x1c",
        b"+1c",
        b"-1",
        b"1c ",
        b" 1c",
        b"1C\t",
        b"1c;a=b",
        b'1c;a="\n"',
        b"1c;a\rb",
        b"1c\n",
        b"1c\r",
        b"",
        b"g",
        b"F" * 16,
        b"F" * 17,
        b"FFFFFFFFFFFFFFF0",
        b"0000000000000000000000001c",
        b"1c;" + b"x" * 5000,
        b"1c\x00",
        b"1d",
        b"1b",
    ]
    ends = [
        b"\r\n0\r\n\r\n",
        b"\n0\n\n",
        b"0\r\n\r\n",
        b"\r\n0\r\nContent-Length: 100\r\n\r\n",
        b"\r\n0\r\n\n",
        b"\r\n00\r\n\r\n",
        b"\r\n0\r\nX: y\n\r\n",
    ]
    data = b"Transfer-Encoding: chunked\r\n\r\n" + random.choice(sizes) + b"\r\n" + TASK + random.choice(ends)
    return b"POST " + TASKS + b" HTTP/1.1\r\n" + HOST + JSON + data + b"GET /smuggled-behind-chunks"


@kind()
def bare_line_ends(random: Random) -> bytes:
    end = random.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x85", b"\x0b\n", b"\r\x00\n"])
    request = b"POST " + TASKS + b" HTTP/1.1\r\n" + HOST + b"X: a\r\nContent-Length: 0\r\n\r\n"
    places = [at for at in range(len(request)) if request.startswith(b"\r\n", at)]
    at = random.choice(places)
    return request[:at] + end + request[at + 2 :] + random.choice([b"", b"GET /smuggled-behind-line HTTP/1.1"])


@kind()
def folded_headers(random: Random) -> bytes:
    fold = random.choice([b"\r\n ", b"\r\n\t", b"\n ", b"\r\n \r\n"])
    line = random.choice(
        [b"Transfer-Encoding:%schunked", b"X: y%sContent-Length: 28", b"Content-Length: 2%s8", b"X%s: y"]
    )
    return framed(random, (line % fold) + b"\r\n", b"0\r\n\r\n")


@kind()
def strange_header_names(random: Random) -> bytes:
    names = [
        b"Content-Length ",
        b"Content-Length\t",
        b" Content-Length",
        b"\x00Content-Length",
        b"Content-Length\xa0",
        b"",
        b":",
        b"Content Length",
        b"Content-Length\r",
        b"Content-Length(x)",
        b"\xef\xbb\xbfContent-Length",
        b"Content\xadLength",
        b"Content-Length:Content-Length",
    ]
    return framed(random, random.choice(names) + random.choice([b": 28\r\n", b" 28\r\n", b":28\r\n"]), TASK)


@kind()
def lengths_where_there_is_no_body(random: Random) -> bytes:
    method = random.choice([b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
    length = random.choice(
        [b"Content-Length: %d" % (2 * len(HIDDEN)), b"Transfer-Encoding: chunked", b"Content-Length: 1048577"]
    )
    return method + b" /live HTTP/1.1\r\n" + HOST + length + b"\r\n\r\n" + HIDDEN
