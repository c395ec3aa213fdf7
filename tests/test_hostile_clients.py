"""Requests that no browser sends, to the shipped site: each is answered, and no child is lost."""

import contextlib
import itertools
import os
import pathlib
import re

import pytest

from tests.conftest import SERVERS, watched
from tests.linear import assert_linear
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.pair import copy_handlers

MEGABYTE = 1024 * 1024
MULTIPART = b"multipart/form-data; boundary=XX"
TEXT = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
UPLOAD = b'--XX\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'
END = b"\r\n--XX--\r\n"


@pytest.mark.parametrize(
    "target, status",
    [
        (b"/thumbs/200x200/%ff.jpg", 400),
        (b"/thumbs/200x200/\xff.jpg", 400),
        (b"/thumbs/200x200/%ff", 400),
        (b"/thumbs/%ff/p001.jpg", 400),
        (b"/thumbs/200x200/%C3%BF.jpg", 404),
        (b"/thumbs/333x333/p001.jpg?s=\xff", 400),
        (b"/thumbs/333x333/p001.jpg?s=%ff", 404),
        (b"/images/%ff", 400),
        (b"/images/%C3%BF", 404),
        (b"/?\xff", 400),
        (b"/?%ff", 200),
        (b"/?page=" + b"9" * 5000, 404),
    ],
)
def test_address_that_is_not_utf_8_is_400(site, target, status):
    pids = site.child_pids()
    assert site.get(target) == status
    assert site.child_pids() == pids


@pytest.mark.parametrize(
    "field",
    [
        b"Cookie: a=\xff",
        b"Cookie: \xff=a",
        b"Cookie: pysid=\xff",
        b"Cookie: pysid=" + b"a" * 32 + b"\xff",
        b"Cookie: " + b'a="' * 2000,
        b"If-None-Match: \xff",
        b'If-None-Match: "\xff"',
        b"If-Modified-Since: Mon, 99999999999 Jan 2020 00:00:00 GMT",
        b"If-Modified-Since: Mon, 01 Jan 99999999999 00:00:00 GMT",
        b"If-Modified-Since: Mon, 01 Jan 2020 00:00:00 +999999999999",
        b"If-Modified-Since: \xff",
        b"If-Unmodified-Since: Mon, 01 Jan 0000 00:00:00 GMT",
        b"Range: bytes=" + b"9" * 5000 + b"-",
        b"Range: \xff",
        b"Accept: \xff",
        b"X-\xff: a",
        b"Authorization: Basic \xff",
        b"Authorization: Basic //86/w==",
    ],
)
@pytest.mark.parametrize("target", [b"/", b"/images/p001", b"/thumbs/200x200/p001.jpg", b"/signin"])
def test_field_that_is_not_utf_8_is_absent(site, target, field):
    pids = site.child_pids()
    # Apache itself refuses a name that is no token
    expected = {400} if field.startswith(b"X-") else {200}
    if target == b"/signin" and expected == {200}:
        # nobody has made the file of users
        site.expect("gallery.users ")
        expected = {503}
    assert site.get(target, field) in expected | ({416} if field.startswith(b"Range: b") else set())
    assert site.child_pids() == pids


@pytest.mark.parametrize(
    "field, body, status",
    [
        (b"Content-Type: \xff", b"id=p001", 303),
        (b"Origin: \xff", b"id=p001", 403),
        (b"Content-Length: " + b"0" * 5000 + b"7", b"id=p001", 303),
        (b"Content-Length: " + b"9" * 4500, b"", 413),
        (b"Content-Length: 4", b"id=\xff", 400),
        (b"Content-Length: 5", b"id=p", 400),
        (b"Content-Length: 6", b"id=%ff", 400),
        (b"Content-Length: 7", b"id=%00a", 400),
        (b"Content-Length: 4000", b"&" * 4000, 400),
    ],
)
def test_form_of_the_gallery_that_makes_no_sense(site, field, body, status):
    if status == 403:
        site.expect("form refused")
    length = b"Content-Length: %d" % len(body)
    fields = [field] if field.startswith(b"Content-Length") else [field, length]
    refused_by_apache = {400, 413} if status == 413 else {status}
    assert site.get(b"/favourites", *fields, method=b"POST", body=body) in refused_by_apache


@pytest.fixture(scope="module", params=SERVERS)
def shared_victim(request, base, pictures):
    """A site of one child with the probes of tests/oracle that read forms."""
    directory = base / f"forms-{request.param}"
    copy_handlers(directory / "python")
    set_env = "" if request.param == "mod_python" else "SetEnv "
    extra = f"""<Location /count>
        SetHandler mod_python
        {set_env}PythonHandler oracle.forms::count
        {set_env}PythonPath "['{directory / "python"}'] + sys.path"
    </Location>
    {"PythonInterpreter main_interpreter" if request.param == "mod_python" else ""}
    LimitRequestBody 0
    LogLevel info"""
    root, rows = pictures
    url = make_images_table(directory / "images.db", rows)
    with Httpd(directory / "site", request.param, url, root, children=1, extra=extra) as server:
        # the child has imported all that it needs when this is answered
        assert server.request("/thumbs/200x200/p001.jpg").status == 200
        yield server


@pytest.fixture
def victim(shared_victim):
    yield from watched(shared_victim)


def memory_of(pid, name):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) * 1024


def temporary_files(pid):
    """Return the open files of a process that have no name."""
    found = []
    for file in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(file))
    return sorted(link for link in found if link.endswith("(deleted)"))


def post(server, body, kind=None):
    fields = [b"Content-Length: %d" % len(body)]
    return server.raw(
        b"POST /count HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + b"".join(b"%s\r\n" % field for field in fields)
        + (b"Content-Type: %s\r\n" % kind if kind else b"")
        + b"\r\n"
        + body
    )


@pytest.mark.parametrize(
    "body, kind, status, option",
    [
        (b"a=" + b"%41" * 21_000_000, None, 413, "memory"),
        (b"a=" + b"%41" * 500_000, None, 200, None),
        (UPLOAD + b"\n" * 20_000_000 + END, MULTIPART, 200, None),
        (TEXT + b"\n" * 20_000_000 + END, MULTIPART, 413, "memory"),
        (b"\n" * 20_000_000 + END, MULTIPART, 200, None),
        (b"--XX\r\n" * 900_000, MULTIPART, 413, "fields"),
        (b"--XX\r\n\r\n" * 700_000, MULTIPART, 413, "fields"),
        ((UPLOAD + b"\r\n") * 1100 + END, MULTIPART, 413, "uploads"),
        ((UPLOAD + b"\r\n") * 100 + END, MULTIPART, 200, None),
        (b"--XX\r\na: " + b"x" * 5_000_000, MULTIPART, 400, "header"),
    ],
)
def test_form_costs_the_child_little(victim, body, kind, status, option):
    (pid,) = victim.child_pids()
    for kind_of_form in (None, MULTIPART):
        post(victim, b"a=1", kind_of_form)
    before, opened = memory_of(pid, "VmRSS"), temporary_files(pid)
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
    start = cpu_seconds(pid)
    answer = post(victim, body, kind)
    assert cpu_seconds(pid) - start < 1
    assert answer[0] == status
    stored = 0 if status != 200 or body.startswith(UPLOAD) else len(body) // 3
    # what the server's own buffers take of a request is less than half a megabyte
    assert memory_of(pid, "VmHWM") - before < stored + 1.5 * MEGABYTE
    assert victim.child_pids() == [pid]
    assert temporary_files(pid) == opened
    lines = re.findall(rf"form answered with {status}: (.*)", victim.log())
    assert len(lines) == (option is not None)
    assert all(option in line for line in lines)


# What Apache itself says, at level error, of a path that is too long or has a % too many.
APACHES_OWN = r"AH00036|AH00127|AH10244"
REPEATED = (
    *(b" image/webp;", b",image/webp;q=0", b", image/avif;q=0.0", b";q=0 ", b"image/avif, "),
    *(b" ", b",", b";", b"0", b"\t;", b'"', b"=", b"a=b; ", b'a="', b'a="\\"; ', b"\\", b'W/"a", '),
    *(b"image/webp ; ", b" image/webp;q=0.00000", b"-", b"1-2,", b"A", b"%41", b"A="),
)
FIELDS = (
    *(b"Accept: image/avif;", b"Accept: ", b"Cookie: ", b'Cookie: a="', b"If-None-Match: "),
    *(b'If-None-Match: "', b"If-Modified-Since: ", b"Range: bytes=", b"Authorization: Basic "),
)


@pytest.mark.parametrize("target", [b"/thumbs/200x200/p001", b"/images/p001", b"/"])
@pytest.mark.parametrize("field", FIELDS)
def test_header_field_takes_linear_time(victim, target, field):
    (pid,) = victim.child_pids()
    # 780 and 7800 bytes: LimitRequestFieldSize is 8190
    for again, (end, tail) in itertools.product(REPEATED, ((b"x", b""), (b";q=0;", b"a"))):

        def ask(size, again=again, end=end, tail=tail):
            # half of it is to be gone through again for each part of the other half
            times = size // len(again) // (2 if tail else 1)
            assert victim.get(target, field + again * times + end + tail * (size // 2))

        assert_linear(ask, 780, clock=child_clock(pid))
    assert victim.child_pids() == [pid]


ADDRESSES = (
    *((b"/thumbs/", b""), (b"/thumbs/200x200/", b""), (b"/thumbs/", b"/p001"), (b"/images/", b"")),
    *((b"/?", b""), (b"/favourites", b""), (b"/thumbs/200x200/p001.jpg?", b""), (b"/", b".jpg")),
    *((b"/thumbs/9x9/p001.jpg?s=", b""), (b"/thumbs/", b"x1/p001.jpg"), (b"/count?", b"")),
)


@pytest.mark.parametrize("start, end", ADDRESSES)
def test_address_takes_linear_time(victim, start, end):
    victim.expect(APACHES_OWN)
    (pid,) = victim.child_pids()
    for again in (
        b"a",
        b"/",
        b".",
        b"-",
        b"a/",
        b"a.",
        b"/.",
        b"%41",
        b"%2f",
        b"1",
        b"1x",
        b"a=&",
        b"s=%",
    ):
        count = 780 // len(again)

        def ask(size, again=again):
            assert victim.get(start + again * size + end)

        assert_linear(ask, count, clock=child_clock(pid))
    assert victim.child_pids() == [pid]


def child_clock(pid):
    """Return what measures the CPU time that a child takes for a request."""

    def clock(work):
        best = float("inf")
        for _ in range(3):
            start = running_seconds(pid)
            work()
            best = min(best, running_seconds(pid) - start)
        return best

    return clock


def running_seconds(pid):
    return int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def cpu_seconds(pid):
    """Return the CPU time of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
