"""Storage that fails while a source is read, and sources of strange dates, on real servers."""

import errno
import functools
import io
import os
import socket
import struct
from unittest.mock import Mock

import pytest
from PIL import Image

from handlers import access, making, source
from handlers.cache.store import Store
from handlers.cache.turns import Turns
from handlers.image.copying import make_copy
from handlers.image.errors import SourceUnavailable
from handlers.image.geometry import Geometry
from handlers.image.limits import Limits
from handlers.image.thumbnail import make
from handlers.lookup import Row
from handlers.maker import client
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table

ALL = Limits(formats=("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"))


class Failing(io.BytesIO):
    """A file of which what lies behind a place cannot be read."""

    def __init__(self, data, place, number):
        super().__init__(data)
        self._place, self._number = place, number

    def read(self, size=-1):
        data = super().read(size)
        if self.tell() > self._place:
            raise OSError(self._number, os.strerror(self._number))
        return data


@functools.cache
def noise(format):
    whole = io.BytesIO()
    Image.effect_noise((400, 300), 60).convert("RGB").save(whole, format)
    return whole.getvalue()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_storage_that_fails_is_not_taken_for_a_broken_picture(format, part, number):
    whole = noise(format)
    file = Failing(whole, int(len(whole) * part), number)
    with pytest.raises(SourceUnavailable, match=os.strerror(number)):
        make(file, Geometry(100, 100), "png", limits=ALL)


def test_storage_that_fails_while_a_copy_is_made_is_told_apart():
    # large in pixels and in bytes, and quickly made
    whole = io.BytesIO()
    Image.effect_noise((600, 400), 60).resize((6000, 4000), 0).save(whole, "JPEG")
    assert len(whole.getvalue()) > 1 << 20
    with pytest.raises(SourceUnavailable):
        make_copy(Failing(whole.getvalue(), 1 << 20, errno.EIO))


def test_storage_that_fails_is_not_remembered(tmp_path):
    """The memory of a process is a regular file, and its first bytes cannot be read."""
    store = Store(str(tmp_path))
    how = making.Recipe("/proc", Limits(), {}, False, 5, 3600, 3)
    row = Row("self/mem", False, None, None)
    for _ in range(4):
        with pytest.raises(source.RootUnavailable, match=r"images\.root /proc: 'self/mem': "):
            turns = Turns(str(tmp_path), 1, 1, 5)
            making.make(store, making.Asked("9x9", "1", "jpg"), row, how, turns)
    assert os.listdir(tmp_path / "handlers-state" / "failures") == []


def test_source_that_is_written_to_while_it_is_decoded_leaves_nothing(tmp_path, cache, monkeypatch):
    """What was decoded may be half of the old picture and half of the new one."""
    store, make_once = Store(cache), client.make
    path = tmp_path / "source.jpg"
    path.write_bytes(noise("JPEG"))

    def write_to(*given):
        done = make_once(*given)
        with open(path, "r+b") as file:
            file.write(noise("JPEG")[:100])
        os.utime(path, (1.7e9, 1.7e9))
        return done

    def is_made():
        how = making.Recipe(str(tmp_path), Limits(), {}, False, 5, 3600, 3)
        asked, turns = making.Asked("9x9", "1", "jpg"), Turns(cache, 1, 1, 60)
        return making.make(store, asked, Row("source.jpg", False, None, None), how, turns)

    with monkeypatch.context() as patch, pytest.raises(making.RowChanged, match="was written to"):
        patch.setattr(client, "make", write_to)
        is_made()
    assert not store.has("9x9/1.jpg")
    assert is_made() and store.has("9x9/1.jpg")


def test_reading_an_original_tells_a_fault_of_the_storage_from_a_client_that_has_gone():
    told = pytest.raises(source.RootUnavailable, match=r"images\.root /srv: 'a.jpg' cannot be read")
    with told, source.read("/srv", "a.jpg"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(OSError, match="Write failed"), source.read("/srv", "a.jpg"):
        raise OSError("Write failed, client closed connection.")


@pytest.fixture(scope="module", params=SERVERS)
def dated(request, base):
    """A site whose pictures are from before 1970 and from the future."""
    directory = base / f"dated-{request.param}"
    root = directory / "pictures"
    root.mkdir(parents=True)
    for name, seconds in (("old", -1_000_000.25), ("new", 4_000_000_000)):
        Image.effect_noise((6000, 4400), 20).save(root / f"{name}.jpg")
        os.utime(root / f"{name}.jpg", (0, seconds))
    rows = {name: f"{name}.jpg" for name in ("old", "new")}
    server = Httpd(
        directory / "site", request.param, make_images_table(directory / "images.db", rows), root
    )
    server.images = root
    with server:
        yield server


@pytest.fixture
def site(dated):
    yield from watched(dated)


def test_picture_from_before_1970_has_the_validators_of_apache(site):
    made = site.request("/thumbs/200x200/old.jpg")
    served = site.request("/thumbs/200x200/old.jpg")
    assert made.status == served.status == 200
    for field in ("ETag", "Last-Modified"):
        assert made.headers[field] == served.headers[field]
    original = site.request("/images/old")
    assert original.status == 200
    size = (site.images / "old.jpg").stat().st_size
    assert original.headers["ETag"] == f'"{size:x}-{-1_000_000_250_000 & (1 << 64) - 1:x}"'


def test_copy_of_a_picture_from_the_future_is_used(site):
    for size in ("200x200", "400x400", "200x200-crop", "400x400-crop"):
        assert site.request(f"/thumbs/{size}/new.jpg").status == 200
    assert "(its copy)" in site.log()


def test_range_behind_the_end_is_416_without_a_line(site):
    size = (site.images / "old.jpg").stat().st_size
    for wanted in (f"bytes={size}-", f"bytes={size + 9}-{size + 99}, {size}-", "bytes=-0"):
        answer = site.request("/images/old", headers={"Range": wanted})
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    fresh = {"Range": f"bytes={size}-", "If-Range": '"another"'}
    assert site.request("/images/old", headers=fresh).status == 200
    assert not site.complaints()


def test_client_that_leaves_is_no_fault_of_ours(site):
    # mod_wsgi itself logs two lines when it sends a file to nobody
    site.expect("WSGI0174: |failed to write response data")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", site.port)) as client:
            client.sendall(b"GET /images/old HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.recv(100)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert site.request("/images/old").status == 200
    assert "Traceback" not in site.log()


def test_file_of_root_in_the_cache_is_what_the_log_names(tmp_path, monkeypatch):
    """Such as a command of root has left in a directory of Apache's user."""
    names = {None: "www-data", os.geteuid(): "www-data", 4711: "root"}
    monkeypatch.setattr(access, "_name", lambda uid=None: names[uid])
    file, lstat = f"{tmp_path}/makers", os.lstat
    of_root = Mock(st_uid=4711)
    monkeypatch.setattr(os, "lstat", lambda at: of_root if os.fsdecode(at) == file else lstat(at))
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
    why = access.why_unwritable(str(tmp_path), refused)
    assert why.startswith(f"{file} belongs to root, and ")
    assert why.endswith(f" may not write it: chown -R www-data: {file}")
