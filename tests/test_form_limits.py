"""Forms that nobody should send: what they may take of a child, and how they are refused."""

import contextlib
import errno
import io
import os
import tempfile
import tracemalloc

import pytest
from mod_python import apache, util

from tests.form_bodies import END, MULTIPART, form, named, request
from tests.linear import assert_linear
from tests.wsgi import serve


@pytest.mark.parametrize(
    "body, content_type, status",
    [
        (b"{}", "application/json", "501 Not Implemented"),
        (b"x", "multipart/form-data", "400 Bad Request"),
        (b"x", "multipart/form-data; boundary=" + "b" * 300, "400 Bad Request"),
        (b"--XX\r\nno colon\r\n\r\n", MULTIPART, "400 Bad Request"),
        (b"--XX\r\nname: \0\r\n\r\n", MULTIPART, "400 Bad Request"),
        (b"--XX\r\nlong: " + b"x" * 70000 + b"\r\n\r\n", MULTIPART, "400 Bad Request"),
        (b"--XX\r\n" + b"x: y\r\n" * 60 + b"\r\n", MULTIPART, "413 Request Entity Too Large"),
        (b"&" * 10_000, None, "413 Request Entity Too Large"),
    ],
)
def test_bodies_that_are_refused(body, content_type, status):
    form(body, content_type, status=status)


def test_body_without_length_is_refused():
    def handler(req):
        util.FieldStorage(req)

    assert serve(handler, REQUEST_METHOD="POST").status == "411 Length Required"


def test_limits(monkeypatch):
    monkeypatch.setattr(util, "MAX_FIELDS", 3)
    monkeypatch.setattr(util, "MAX_MEMORY", 100)
    too_large = "413 Request Entity Too Large"
    assert len(form(named(b"a", b"v") * 3 + END, MULTIPART)) == 1
    form(named(b"a", b"v") * 4 + END, MULTIPART, status=too_large)
    form(named(b"a", b"x" * 60) * 2 + END, MULTIPART, status=too_large)
    form(b"a=" + b"x" * 100, status=too_large)
    form(method="GET", query="a&b&c&d", status=too_large)
    upload = named(b"a", b"x" * 5000, b'; filename="f"') + END
    assert form(upload, MULTIPART, look=lambda fs: len(fs["a"].value)) == 5000


UPLOAD = b'--XX\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'
TEXT = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
TOO_LARGE = "413 Request Entity Too Large"


@pytest.mark.slow
@pytest.mark.parametrize(
    "start, again",
    [
        (b"a=", b"%41" * 1000),
        (b"a=", b"%41a" * 1000),
        (b"", b"&" * 1000),
        (b"", b"a=b&" * 1000),
        (UPLOAD, b"\n" * 1000),
        (UPLOAD, b"\r\n" * 1000),
        (UPLOAD, b"\r\n--XXa" * 1000),
        (UPLOAD, b"\r\n--XX   " * 1000),
        (TEXT, b"\n" * 1000),
        (b"", b"\n" * 1000),
        (b"", b"--XX\r\n" * 1000),
        (b"", b"--XX\r\n\r\n" * 1000),
        (b"--XX\r\nname: a\r\n", b" b\r\n" * 1000),
    ],
)
def test_hostile_body_takes_linear_time(start, again):
    kind = MULTIPART if b"\n" in start + again else None
    unlimited = dict.fromkeys(("memory", "fields", "uploads", "header"), "1G")

    def read(times):
        req = request(start + again * times, kind, **unlimited)
        with contextlib.suppress(apache.SERVER_RETURN):
            util.FieldStorage(req)
        req.run_cleanups()

    assert_linear(read, 4)


@pytest.mark.parametrize("start", [b"f; a", b'f; a="', b'f; a="\\"', b"f;", b"f; a=b"])
@pytest.mark.parametrize("again", [b"; a", b'; a="', b'; a="\\"', b";" + b" " * 9, b" ", b'\\"'])
def test_hostile_header_takes_linear_time(start, again):
    assert_linear(lambda times: util.parse_header(start + again * times), 1000)


@pytest.mark.parametrize(
    "body, kind, stored",
    [
        (b"a=" + b"%41" * 300_000, None, 300_000),
        (b"a=" + b"%41" * 21_000_000, None, 0),
        (b"aa=b&" * 900, None, 2700),
        (UPLOAD + b"\n" * 20_000_000 + b"\r\n--XX--", MULTIPART, 0),
        (TEXT + b"\n" * 500_000 + b"\r\n--XX--", MULTIPART, 500_000),
        (b"--XX\r\n" * 700_000, MULTIPART, 0),
        ((UPLOAD + b"\r\n") * 90 + b"--XX--", MULTIPART, 0),
    ],
)
def test_body_takes_a_megabyte_above_what_is_stored(body, kind, stored):
    req = request(body, kind)
    tracemalloc.start()
    try:
        with contextlib.suppress(apache.SERVER_RETURN):
            util.FieldStorage(req)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        req.run_cleanups()
    assert peak < stored + 1_000_000


@pytest.mark.parametrize(
    "body, kind, option",
    [
        (b"a=" + b"%41" * 2_000_000, None, "memory"),
        (b"a=" + b"x" * 2_000_000, None, "memory"),
        (TEXT + b"x" * 2_000_000 + b"\r\n--XX--", MULTIPART, "memory"),
        ((b"--XX\r\n" + b"x: y\r\n" * 40 + b"\r\n\r\n") * 400, MULTIPART, "memory"),
        (b"a&" * 2000, None, "fields"),
        (b"--XX\r\n" * 2000, MULTIPART, "fields"),
        (b"--XX\r\n\r\n" * 2000, MULTIPART, "fields"),
        ((TEXT + b"\r\n") * 2000, MULTIPART, "fields"),
        ((UPLOAD + b"\r\n") * 1100, MULTIPART, "uploads"),
        (b"--XX\r\nname: " + b"x" * 9000 + b"\r\n\r\n", MULTIPART, "header"),
    ],
)
def test_limit_is_413_and_its_option_changes_it(body, kind, option, caplog):
    caplog.set_level("INFO")
    for given in ({}, {option: "10"}):
        with pytest.raises(apache.SERVER_RETURN) as caught:
            util.FieldStorage(request(body, kind, **given))
        assert caught.value.args == (apache.HTTP_REQUEST_ENTITY_TOO_LARGE,)
        (record,) = caplog.records
        assert f"mod_python.form.{option}" in record.getMessage() and record.levelname == "INFO"
        caplog.clear()
    larger = request(
        body, kind, **({"fields": "9K"} if option == "uploads" else {}), **{option: "9M"}
    )
    util.FieldStorage(larger)
    larger.run_cleanups()


@pytest.mark.parametrize("value", ["many", "-1", "1e3", "²", "1.5Q"])
def test_limit_that_is_no_number_is_500_and_said_in_the_log(value, caplog):
    with pytest.raises(apache.SERVER_RETURN) as caught:
        util.FieldStorage(request(b"a=1", None, memory=value))
    assert caught.value.args == (apache.HTTP_INTERNAL_SERVER_ERROR,)
    assert "mod_python.form.memory" in caplog.text


def test_uploads_are_closed_at_the_end_of_the_request():
    req = request(UPLOAD + b"x" * 100_000 + b"\r\n" + UPLOAD + b"\r\n--XX--", MULTIPART)
    form = util.FieldStorage(req)
    files = [field.file for field in form.list]
    open_before = os.listdir("/proc/self/fd")
    files[0].seek(0, os.SEEK_END)
    assert files[0].tell() == 100_000
    req.run_cleanups()
    assert all(file.closed for file in files)
    assert len(os.listdir("/proc/self/fd")) < len(open_before)


def test_full_disk_is_507_and_said_in_the_log(monkeypatch, caplog):
    class Full(tempfile.SpooledTemporaryFile):
        def rollover(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    req = request(UPLOAD + b"x" * 100_000 + b"\r\n--XX--", MULTIPART)
    with pytest.raises(apache.SERVER_RETURN) as caught:
        util.FieldStorage(req)
    req.run_cleanups()
    assert caught.value.args == (apache.HTTP_INSUFFICIENT_STORAGE,)
    assert "No space left" in caplog.text


def test_body_in_small_pieces_is_read_the_same():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7))

    value = b"\r\n--XX-\r\n--X\n--XXa\r"
    body = UPLOAD + value + b"\r\n" + TEXT + value + b"\r\n--XX--\r\nepilogue"
    fields = util.FieldStorage(request(body, MULTIPART, input=Slow(body))).list
    assert [field.value for field in fields] == [value, value]
    body = b"a%2=%41%4&b=%c3%bc+&c"
    fields = util.FieldStorage(request(body, None, input=Slow(body)), keep_blank_values=1).list
    assert [(field.name, field.value) for field in fields] == [
        (b"a%2", b"A%4"),
        (b"b", "ü ".encode()),
        (b"c", b""),
    ]
