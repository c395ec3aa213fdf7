"""Opening sources strictly below their root, by the kernel's check and by the walk without it."""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import stat
import tempfile
import threading

import pytest

from handlers import source
from handlers.source import RootUnavailable, SourceMissing, SourceRefused, open_source
from tests.support import nothing_left


@pytest.fixture(params=["openat2", "walk"])
def pictures(request, tmp_path, monkeypatch):
    """A root with a picture in it and a secret beside it; with openat2, and as if without."""
    if request.param == "walk":
        monkeypatch.setattr(source, "_open_beneath", lambda root_fd, name: None)
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"a picture")
    (root / "sub" / "b.jpg").write_bytes(b"b picture")
    (tmp_path / "secret").write_bytes(b"a secret")
    # a prefix of the root's name must not count as the root
    (tmp_path / "root-of-others").mkdir()
    (tmp_path / "root-of-others" / "c.jpg").write_bytes(b"a secret")
    return root


def read(root, path):
    with open_source(str(root), path) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.jpg", b"a picture"),
        ("sub/b.jpg", b"b picture"),
        ("./sub//b.jpg", b"b picture"),
        ("sub/./b.jpg", b"b picture"),
    ],
)
def test_files_below_the_root_are_opened(pictures, path, content):
    assert read(pictures, path) == content


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "//etc/passwd",
        "../secret",
        "sub/../a.jpg",
        "sub/../../secret",
        "..",
        "a.jpg\0",
        "a.jpg\0.png",
        "\0",
        "http://example.org/a.jpg",
        "file:///etc/passwd",
        "HTTPS://example.org/",
        "gopher+x://example.org/",
        "\ud800.jpg",
    ],
)
def test_paths_that_are_not_below_the_root_are_refused(pictures, path):
    with pytest.raises(SourceRefused) as refused:
        open_source(str(pictures), path)
    assert refused.value.path == path
    assert refused.value.why


@pytest.mark.parametrize(
    "path", ["none.jpg", "sub/none.jpg", "none/b.jpg", "a.jpg/b.jpg", "x" * 300]
)
def test_missing_files_are_missing(pictures, path):
    with pytest.raises(SourceMissing) as missing:
        open_source(str(pictures), path)
    assert missing.value.path == path


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link.jpg", "a.jpg", "link.jpg"),
        ("link.jpg", "sub/b.jpg", "link.jpg"),
        ("sub/link.jpg", "../a.jpg", "sub/link.jpg"),
        ("sub/deep/link.jpg", "../../a.jpg", "sub/deep/link.jpg"),
        ("folder", "sub", "folder/b.jpg"),
        ("sub/up", "..", "sub/up/a.jpg"),
    ],
)
def test_links_that_stay_inside_are_followed(pictures, link, target, path):
    (pictures / link).symlink_to(target)
    assert read(pictures, path) in (b"a picture", b"b picture")


def test_absolute_links_that_stay_inside_are_followed(pictures):
    (pictures / "link.jpg").symlink_to(pictures / "sub" / "b.jpg")
    (pictures / "sub" / "deep" / "folder").symlink_to(pictures / "sub")
    assert read(pictures, "link.jpg") == b"b picture"
    assert read(pictures, "sub/deep/folder/b.jpg") == b"b picture"


def test_links_to_links_are_followed(pictures):
    (pictures / "one.jpg").symlink_to("sub/two.jpg")
    (pictures / "sub" / "two.jpg").symlink_to(pictures / "three.jpg")
    (pictures / "three.jpg").symlink_to("a.jpg")
    assert read(pictures, "one.jpg") == b"a picture"


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("link.jpg", "../secret", "link.jpg"),
        ("sub/link.jpg", "../../secret", "sub/link.jpg"),
        ("link.jpg", "/etc/passwd", "link.jpg"),
        ("link.jpg", "../root-of-others/c.jpg", "link.jpg"),
        ("folder", "..", "folder/secret"),
        ("folder", "/", "folder/etc/passwd"),
        ("out-and-in", "../root", "out-and-in/a.jpg"),
        ("process", "/proc/self/root", "process/etc/passwd"),
    ],
)
def test_links_that_lead_out_are_refused(pictures, link, target, path):
    (pictures / link).symlink_to(target)
    with pytest.raises(SourceRefused, match="out of the root"):
        open_source(str(pictures), path)


def test_absolute_link_beside_the_root_is_refused(pictures):
    (pictures / "link.jpg").symlink_to(str(pictures) + "-of-others/c.jpg")
    with pytest.raises(SourceRefused, match="out of the root"):
        open_source(str(pictures), "link.jpg")


def test_loops_of_links_are_refused(pictures):
    (pictures / "one").symlink_to("two")
    (pictures / "two").symlink_to("one")
    with pytest.raises(SourceRefused, match="links"):
        open_source(str(pictures), "one")


def test_root_may_be_a_link_itself(pictures, tmp_path):
    (tmp_path / "alias").symlink_to(pictures)
    (pictures / "link.jpg").symlink_to(pictures / "a.jpg")
    assert read(tmp_path / "alias", "a.jpg") == b"a picture"
    assert read(tmp_path / "alias", "link.jpg") == b"a picture"


@pytest.mark.parametrize("path", ["sub", "sub/", ".", "fifo", "socket", "a.jpg/"])
def test_only_regular_files_are_opened_and_nothing_blocks(pictures, path, monkeypatch):
    os.mkfifo(pictures / "fifo")
    monkeypatch.chdir(pictures)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        signal.alarm(90)
        try:
            with pytest.raises((SourceRefused, SourceMissing)):
                open_source(str(pictures), path)
        finally:
            signal.alarm(0)


def test_undecodable_names_are_opened_as_os_fsdecode_gives_them(pictures):
    name = b"caf\xe9 \xff.jpg"
    with open(os.path.join(os.fsencode(pictures), name), "wb") as file:
        file.write(b"bytes")
    assert read(pictures, os.fsdecode(name)) == b"bytes"
    (pictures / "Überblick – 図.jpg").write_bytes(b"letters")
    assert read(pictures, "Überblick – 図.jpg") == b"letters"


def test_descriptors_are_closed(pictures):
    (pictures / "out").symlink_to("../secret")
    (pictures / "folder").symlink_to(pictures / "sub" / "deep" / "..")
    with nothing_left():
        for path in ("a.jpg", "out", "sub", "none", "folder/b.jpg", "../x", "sub/deep/none/x"):
            with contextlib.suppress(SourceRefused, SourceMissing):
                open_source(str(pictures), path).close()


def test_descriptor_is_not_inherited_and_reads_from_the_start(pictures):
    with open_source(str(pictures), "a.jpg") as file:
        assert not os.get_inheritable(file.fileno())
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        assert file.tell() == 0


def test_missing_root_is_an_error_of_its_own(tmp_path):
    with pytest.raises(RootUnavailable, match=r"images\.root /.*/none: no such directory$"):
        open_source(str(tmp_path / "none"), "a.jpg")


def test_file_that_may_not_be_read_is_refused():
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        locked = os.path.join(root, "locked.jpg")
        os.close(os.open(locked, os.O_CREAT, 0))
        # root may read anything, unless it puts on another user's file access, setfsuid(2)
        if os.geteuid() == 0:
            libc.setfsuid(65534)
        try:
            with pytest.raises(SourceRefused, match="permission"):
                open_source(root, "locked.jpg")
        finally:
            libc.setfsuid(os.geteuid())


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EAGAIN])
def test_kernel_that_cannot_decide_leaves_it_to_the_walk(pictures, number, monkeypatch):
    class Refusing:
        def syscall(self, *arguments):
            source.ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(source, "_libc", Refusing())
    assert read(pictures, "sub/b.jpg") == b"b picture"
    (pictures / "out").symlink_to("../secret")
    with pytest.raises(SourceRefused):
        open_source(str(pictures), "out")


@pytest.mark.slow
def test_secret_is_never_read_while_a_link_is_swapped(pictures):
    """Another process turns a folder into a link that leads out, and back, all the time."""
    stop = threading.Event()
    (pictures / "secret").mkdir()
    (pictures / "moving").mkdir()
    (pictures / "moving" / "secret").write_bytes(b"a picture")
    (pictures / "leads-out").symlink_to("..")

    def swap():
        while not stop.is_set():
            os.rename(pictures / "moving", pictures / "parked")
            os.rename(pictures / "leads-out", pictures / "moving")
            os.rename(pictures / "moving", pictures / "leads-out")
            os.rename(pictures / "parked", pictures / "moving")

    swapper = threading.Thread(target=swap)
    swapper.start()
    found = set()
    try:
        for _ in range(3000):
            try:
                found.add(read(pictures, "moving/secret"))
            except (SourceRefused, SourceMissing):
                continue
    finally:
        stop.set()
        swapper.join()
    assert found <= {b"a picture"}
