"""Requests made up at random, each of them the bytes that go over a socket.

One seed gives one sequence. Most requests are nearly right, so that they get past the first check:
a known address with one part exchanged, a known field with one strange value; some are bytes of a
right request with a few changed, and some are no HTTP at all.
"""

import random
from collections.abc import Iterator

_TOKENS = (
    *(b"", b"a", b"0", b"-1", b"1e9", b"9" * 30, b"0" * 4500, b"%00", b"%ff", b"%C3%A9", b"%2f"),
    *(b"%2e%2e", b"..", b"...", b"%", b"%zz", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"'", b'"'),
    *(b"\\", b"\\\\", b"<b>", b";", b",", b"=", b"&", b"?", b"#", b" ", b"\t", b"\x0b", b"\x7f"),
    *(b"\x1b[2J", b"{}", b"[", b"]", b"//", b"/", b":", b"@", b"*", b"~", b"|", b"$", b"^", b"`"),
    *(b"%s%n", b"${x}", b"%{env:PATH}", b"\xe2\x80\xae", b"\xef\xbc\x8f", b"A" * 300, b"A" * 5000),
    *(b"a=" * 500, b",a" * 900, b"(" * 50, b"%41" * 400, b"true", b"None", b"nan", b"inf"),
)
_SIZES = (b"200x200", b"400x400-crop", b"0x0", b"99999x99999", b"200x", b"200x200-CROP", b"1x1")
_IDS = (b"p001", b"p002", b"large", b"alpha", b"broken", b"gone", b"outside", b"url", b"fifo")
_EXTENSIONS = (b".jpg", b".png", b".webp", b".avif", b"", b".gif", b".JPG", b".jpg.jpg", b".")
_METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"POST", b"POST", b"PUT", b"OPTIONS", b"TRACE", b"get")
_FORM = b"application/x-www-form-urlencoded"
_DATES = (
    b"Sun, 13 Sep 2020 12:26:40 GMT",
    b"Sunday, 13-Sep-20 12:26:40 GMT",
    b"Sun Sep 13 12:26:40 2020",
    b"Mon, 99999999999 Jan 2020 00:00:00 GMT",
    b"Mon, 01 Jan 99999 00:00:00 GMT",
    b"Mon, 31 Feb 2020 25:61:61 GMT",
    b"Fri, 31 Dec 9999 23:59:59 -2400",
)
_FIELDS = {
    b"Accept": (b"image/avif", b"image/webp;q=0", b"image/webp;q=0.5, */*;q=0.1", b"text/html"),
    b"Authorization": (b"Basic dXNlcjpwYXNz", b"Basic ====", b"Bearer x", b"Digest username=a"),
    b"Content-Type": (
        *(_FORM, b"multipart/form-data; boundary=XX", b"multipart/form-data", b"text/plain"),
        *(b"multipart/form-data; boundary=" + b"b" * 300, b"application/json"),
    ),
    b"Cookie": (b"pysid=" + b"0" * 32, b"pysid=x", b'a="b; c=d"; pysid=1', b"$Version=1; a=b"),
    b"Expect": (b"100-continue",),
    b"Host": (b"localhost", b"localhost:99999", b"[::1]", b"a.example."),
    b"If-Match": (b"*", b'"a"', b'W/"a", "b"'),
    b"If-Modified-Since": _DATES,
    b"If-None-Match": (b"*", b'"a"', b'W/"a", "b"', b'"'),
    b"If-Range": (b'"a"', *_DATES),
    b"If-Unmodified-Since": _DATES,
    b"Origin": (b"http://localhost", b"http://[", b"null", "http://ａ.example".encode()),
    b"Range": (b"bytes=0-0", b"bytes=-1", b"bytes=9-1", b"bytes=0-,0-,0-", b"lines=1"),
    b"Referer": (b"http://localhost/", b"http://["),
    b"Transfer-Encoding": (b"chunked", b"gzip"),
    b"X-Forwarded-For": (b"127.0.0.1", b"a"),
    b"X-Forwarded-Proto": (b"https",),
}


def requests(seed: int, count: int) -> Iterator[bytes]:
    """Yield *count* requests."""
    rng = random.Random(seed)
    for _ in range(count):
        request = _request(rng)
        if rng.random() < 0.1:
            request = _mutated(rng, request)
        elif rng.random() < 0.01:
            request = rng.randbytes(rng.randrange(300))
        yield request


def _request(rng):
    method = rng.choice(_METHODS)
    target, posts = _target(rng)
    if posts and rng.random() < 0.6:
        method = b"POST"
    version = rng.choices(
        (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"HTTP/1.", b""), (30, 4, 1, 1, 1)
    )[0]
    lines = [b"%s %s %s" % (method, target, version)]
    fields = {b"Host": b"localhost"} if rng.random() < 0.97 else {}
    for name in rng.sample(sorted(_FIELDS), rng.choice((0, 1, 1, 2, 4))):
        fields[name] = _strange(rng, rng.choice(_FIELDS[name]))
    body = b""
    if method == b"POST" or rng.random() < 0.05:
        kind, body = _body(rng)
        fields.setdefault(b"Content-Type", kind)
        if rng.random() < 0.95:
            fields[b"Content-Length"] = b"%d" % len(body)
        elif rng.random() < 0.5:
            fields[b"Content-Length"] = _token(rng)
    if rng.random() < 0.8:
        fields[b"Connection"] = b"close"
    lines += [b"%s: %s" % field for field in fields.items()]
    if rng.random() < 0.05:
        lines.append(_token(rng) + b": " + _token(rng))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _target(rng):
    """Return an address, and whether it takes a form."""
    kind = rng.randrange(10)
    if kind < 3:
        parts = [rng.choice(_SIZES), b"/", rng.choice(_IDS), rng.choice(_EXTENSIONS)]
        if rng.random() < 0.5:
            parts[rng.randrange(4)] = _token(rng)
        query = b"?s=" + _token(rng) if rng.random() < 0.2 else b""
        return b"/thumbs/" + b"".join(parts) + query, False
    if kind < 5:
        return b"/images/" + (rng.choice(_IDS) if rng.random() < 0.5 else _token(rng)), False
    if kind < 6:
        query = rng.choice((b"", b"?page=2", b"?show=favourites&page=1", b"?page="))
        return b"/" + _strange(rng, query), False
    if kind < 8:
        return rng.choice((b"/favourites", b"/signin", b"/signout", b"/count", b"/cookies")), True
    if kind < 9:
        return b"/count?" + b"&".join(_token(rng) for _ in range(rng.randrange(6))), True
    return _strange(rng, rng.choice((b"/", b"*", b"http://localhost/", b"//", b"/x", b""))), False


def _body(rng):
    kind = rng.randrange(5)
    if kind == 0:
        fields = (b"id=p001", b"back=/", b"user=ann", b"password=x", b"id=" + _token(rng))
        return _FORM, _strange(rng, b"&".join(rng.sample(fields, rng.randrange(5))))
    if kind == 1:
        return _FORM, b"".join(_token(rng) + rng.choice((b"=", b"&", b";", b"")) for _ in range(8))
    if kind == 2:
        return b"multipart/form-data; boundary=XX", b"".join(
            _part(rng) for _ in range(rng.randrange(4))
        )
    if kind == 3:
        body = b"".join(_part(rng) for _ in range(2)) + b"--XX--\r\n"
        return b"multipart/form-data; boundary=XX", _mutated(rng, body)
    return rng.choice((_FORM, b"multipart/form-data; boundary=XX")), rng.randbytes(
        rng.randrange(2000)
    )


def _part(rng):
    disposition = rng.choice((b'form-data; name="a"', b'form-data; name="a"; filename="f"', b""))
    lines = [b"--XX", b"Content-Disposition: " + _strange(rng, disposition), b"", _token(rng), b""]
    if rng.random() < 0.2:
        lines.insert(2, _token(rng))
    return rng.choice((b"\r\n", b"\r\n", b"\r\n", b"\n")).join(lines)


def _strange(rng, value):
    """Return *value*, at times with something in it that nobody expects."""
    if rng.random() < 0.6:
        return value
    place = rng.randrange(len(value) + 1)
    token = _token(rng).replace(b"\n", b"")
    return rng.choice((value[:place] + token + value[place:], token, value[:place], value * 3))


def _token(rng):
    if rng.random() < 0.8:
        return rng.choice(_TOKENS)
    return bytes(rng.choices(range(1, 256), k=rng.randrange(12))).replace(b"\n", b"")


def _mutated(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        if data:
            place = rng.randrange(len(data))
            data[place : place + rng.randrange(3)] = rng.choice(
                (b"", rng.randbytes(1), _token(rng))
            )
    return bytes(data)
