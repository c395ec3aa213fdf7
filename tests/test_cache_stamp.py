"""A cache belongs to one configuration, and what another one made is never served."""

import configparser
import io
import logging
import os
import pathlib
import shutil
import signal
import threading

import pytest
from PIL import Image

from handlers import locks, settings, state_directory
from handlers.cache import stamp
from handlers.cache.store import Store
from handlers.cache.sweep import Limits, Sweep
from handlers.quickstart import httpd
from tests.conftest import SERVERS, watched
from tests.forked import forked
from tests.servers.httpd import Httpd, make_images_table
from tests.support import remove, until

NAME = "200x200/a.jpg"


@pytest.fixture
def site(tmp_path):
    """A function that writes a settings file and returns its options, as a child reads them."""

    def write(name="settings.ini", **options):
        given = {
            "lookup.database": f"sqlite:///{tmp_path}/images.db",
            "images.root": "/srv/pictures",
            "thumbnail.cache": str(tmp_path / "cache"),
            **{key.replace("__", "."): value for key, value in options.items()},
        }
        path = tmp_path / name
        parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
        for option, value in given.items():
            section, _, key = option.partition(".")
            parser.read_dict({section: {key: value}})
        with open(path, "w", encoding="utf-8") as file:
            parser.write(file)
        settings.read.cache_clear()
        return settings.read(str(path))

    yield write
    settings.read.cache_clear()


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "cache"))


def fill(store):
    for folder in ("thumbs", "private"):
        own = Store(store.directory, folder)
        own.write(own.path(NAME), b"x", 0)
    store.write_copy("a", b"x", 0)


def files(store):
    found = []
    for part in ("thumbs", "private", "copies", "failures"):
        for _, _, names in os.walk(store.part(part)):
            found += names
    return found


def test_another_configuration_empties_the_cache_and_the_same_one_does_not(site, store, caplog):
    stamp.claim(store.directory, site())
    assert caplog.records == []
    fill(store)
    for same in ({}, {"lookup__refresh": "7"}, {"thumbnail__sizes": "1x1"}):
        stamp.claim(store.directory, site(**same))
        assert len(files(store)) == 3
    for changed in (
        {"lookup__database": "sqlite:////elsewhere.db"},
        {"lookup__table": "other"},
        {"lookup__id": "number"},
        {"lookup__path": "file"},
        {"lookup__private": "hidden"},
        {"lookup__focus_x": "x"},
        {"lookup__query": "SELECT 1", "lookup__query_one": "SELECT :id"},
        {"images__root": "/srv/others"},
    ):
        options = site(**changed)
        assert not stamp.holds(store.directory, options)
        stamp.claim(store.directory, options)
        assert files(store) == [], changed
        assert stamp.holds(store.directory, options)
        fill(store)
    (first, *rest) = caplog.messages
    assert len(rest) == 7
    assert first == (
        f"cache {store.directory} emptied: its thumbnails were made by "
        f"{options['handlers.settings']} for another database, table, column or images.root"
    )


def test_password_and_spelling_of_the_root_are_no_part_of_it(site, store):
    def claimed(database, root):
        return stamp.fingerprint(site(lookup__database=database, images__root=root))

    first = claimed("mysql://u:one@h/n", "/srv/p")
    assert claimed("mysql://u:two@h/n", "/srv/p/") == first
    assert claimed("mysql://u:one@g/n", "/srv/p") != first


def test_stamp_does_not_hold_the_password(site, store):
    stamp.claim(store.directory, site(lookup__database="mysql://u:secret@h/n"))
    assert "secret" not in pathlib.Path(state_directory.path(store.directory, "stamp")).read_text()


@pytest.mark.parametrize("damage", [None, "", "{", "[]", '{"configuration": "x"}'])
def test_cache_of_unknown_origin_is_emptied(site, store, caplog, damage):
    options = site()
    stamp.claim(store.directory, options)
    fill(store)
    path = pathlib.Path(state_directory.path(store.directory, "stamp"))
    path.unlink() if damage is None else path.write_text(damage)
    stamp.claim(store.directory, options)
    assert files(store) == []
    (line,) = caplog.messages
    assert "no stamp" in line


def test_layout_of_earlier_versions_is_emptied(site, store, caplog, tmp_path):
    cache = tmp_path / "cache"
    for part in ("thumbs/200x200", "private/200x200", "copies", "failures", "tmp"):
        (cache / part).mkdir(parents=True)
        (cache / part / "a.jpg").write_bytes(b"x")
    for name in ("lock", "makers", "waiters", "sweeper", "sleepers", "round", "growth"):
        (cache / name).touch()
    stamp.claim(store.directory, site())
    assert sorted(os.listdir(cache)) == ["handlers-state", "thumbs"]
    assert files(store) == []
    assert len(caplog.messages) == 1
    sweep = Sweep(store.directory, Limits())
    while not sweep.step(0.001):
        pass
    assert not os.path.exists(stamp.trash(store.directory))


def test_many_children_empty_it_once(site, store, caplog):
    stamp.claim(store.directory, site())
    fill(store)
    options = site(lookup__table="other")

    def child():
        caplog.clear()
        stamp.claim(store.directory, options)
        # the first one has gone on already, and made a thumbnail
        store.write(store.path(f"200x200/{os.getpid()}.jpg"), b"x", 0)
        return len(caplog.messages)

    assert sorted(forked([child] * 12)) == ["0"] * 11 + ["1"]
    assert len(files(store)) == 12


@pytest.mark.slow
def test_killed_in_the_middle_leaves_nothing_of_the_old(site, store, monkeypatch):
    """After each system call that changes something, the next claim still empties the rest."""
    old = site()
    for calls in range(12):
        shutil.rmtree(store.directory, ignore_errors=True)
        stamp.claim(store.directory, site())
        fill(store)
        options = site(lookup__table="other")

        def child(calls=calls, options=options):
            left = [calls]

            def dying(real):
                def call(*args, **keywords):
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left[0] -= 1
                    return real(*args, **keywords)

                return call

            for name in ("rename", "replace", "unlink", "mkdir"):
                setattr(os, name, dying(getattr(os, name)))
            stamp.claim(store.directory, options)

        forked([child])
        if not stamp.holds(store.directory, options):
            assert not (stamp.holds(store.directory, old) and len(files(store)) < 3)
            stamp.claim(store.directory, options)
        assert files(store) == []
        assert stamp.holds(store.directory, options)


def test_process_of_before_can_neither_empty_nor_publish(site, store):
    old = site()
    stamp.claim(store.directory, old)
    path = pathlib.Path(old["handlers.settings"])
    path.write_text(path.read_text().replace("[lookup]", "[lookup]\ntable = other"))

    def new_child():
        settings.read.cache_clear()
        stamp.claim(store.directory, settings.read(str(path)))
        fill(store)

    forked([new_child])
    with pytest.raises(stamp.Outdated, match="restart Apache"):
        stamp.claim(store.directory, old)
    assert len(files(store)) == 3 and not stamp.holds(store.directory, old)


def test_what_is_published_during_the_emptying_goes_with_the_rest(site, store):
    """A maker that has checked the stamp, and renames after the cache was emptied."""
    options = site()
    stamp.claim(store.directory, options)
    fill(store)

    def check():
        assert stamp.holds(store.directory, options)
        stamp.claim(store.directory, site(lookup__table="other"))

    store.write(store.path("200x200/b.jpg"), b"x", 0, check=check)
    assert files(store) == []


def test_two_settings_files_of_one_cache_are_refused(site, store, tmp_path):
    first = site()
    stamp.claim(store.directory, first)
    fill(store)
    for changed in ({}, {"lookup__table": "other"}):
        other = site("other.ini", **changed)
        with pytest.raises(settings.BadSettings) as caught:
            stamp.claim(store.directory, other)
        assert str(caught.value) == (
            f"thumbnail.cache {store.directory} is that of {tmp_path}/settings.ini: "
            f"give {tmp_path}/other.ini a thumbnail.cache of its own"
        )
    assert len(files(store)) == 3
    # the first one names another cache by now, or is gone
    site(thumbnail__cache=str(tmp_path / "elsewhere"))
    stamp.claim(store.directory, other)
    assert files(store) == []
    fill(store)
    (tmp_path / "other.ini").rename(tmp_path / "moved.ini")
    moved = settings.read(str(tmp_path / "moved.ini"))
    stamp.claim(store.directory, moved)
    assert len(files(store)) == 3 and stamp.holds(store.directory, moved)


def test_link_to_the_settings_file_is_the_same_file(site, store, tmp_path):
    stamp.claim(store.directory, site())
    (tmp_path / "link.ini").symlink_to(tmp_path / "settings.ini")
    stamp.claim(store.directory, settings.read(str(tmp_path / "link.ini")))


def test_options_of_a_part_of_the_site_need_their_own_cache(site, store, tmp_path):
    options = site()
    stamp.claim(store.directory, options)
    fill(store)
    part = {**options, "lookup.table": "other"}
    with pytest.raises(settings.BadSettings, match=r"a thumbnail\.cache of its own"):
        stamp.claim(store.directory, part)
    assert len(files(store)) == 3
    own = Store(str(tmp_path / "own"))
    part["thumbnail.cache"] = own.directory
    stamp.claim(own.directory, part)
    fill(own)
    stamp.claim(own.directory, part)
    assert len(files(own)) == 3
    # two parts of one server
    with pytest.raises(settings.BadSettings, match=r"a thumbnail\.cache of its own"):
        stamp.claim(own.directory, {**part, "lookup.table": "third"})
    # after a restart of the server

    def child():
        stamp.claim(own.directory, {**part, "lookup.table": "third"})
        return len(files(own))

    assert forked([lambda: forked([child])]) == ["['0']"]


def two_colours(kind, public_dir):
    """A site on two tables of the same ids, not started yet."""
    root = public_dir / "pictures"
    root.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (640, 480), colour).save(root / f"{colour}.jpg")
        os.utime(root / f"{colour}.jpg", (1.7e9, 1.7e9))
    url = make_images_table(public_dir / "red.db", {"1": "red.jpg", "2": "red.jpg"})
    make_images_table(public_dir / "blue.db", {"1": "blue.jpg", "2": "blue.jpg"})
    server = Httpd(public_dir / "site", kind, url, root)
    server.blue = f"sqlite:///{public_dir}/blue.db"
    with server.stopped_at_the_end():
        yield from watched(server)


@pytest.fixture(params=SERVERS)
def server(request, public_dir):
    yield from two_colours(request.param, public_dir)


@pytest.fixture
def graceful_server(public_dir):
    """The same on mod_wsgi; mod_python's httpd does not survive a graceful restart."""
    yield from two_colours("mod_wsgi", public_dir)


def colour(answer):
    with Image.open(io.BytesIO(answer.body)) as picture:
        red, _, blue = picture.convert("RGB").getpixel((10, 10))
    return "red" if red > blue else "blue"


def test_start_with_another_database_serves_nothing_of_the_first(server):
    server.expect(f"cache {server.work.cache} emptied: its thumbnails were made by")
    server.start()
    for size in ("200x200", "400x400"):
        assert colour(server.request(f"/thumbs/{size}/1.jpg")) == "red"
    server.settings(f"lookup.database = {server.blue}")
    server.stop()
    server.start()
    for size in ("200x200", "400x400"):
        assert colour(server.request(f"/thumbs/{size}/1.jpg")) == "blue"
    assert server.log().count(" emptied: ") == 1


def test_graceful_restart_with_another_database_serves_nothing_of_the_first(graceful_server):
    server = graceful_server
    server.expect(f"cache {server.work.cache} emptied: its thumbnails were made by")
    server.start()
    for size in ("200x200", "400x400"):
        assert colour(server.request(f"/thumbs/{size}/1.jpg")) == "red"
    before = set(server.child_pids())
    server.settings(f"lookup.database = {server.blue}")
    httpd.graceful(server.work)
    until(lambda: len(server.child_pids()) >= 3 and not before & set(server.child_pids()))
    for size in ("200x200", "400x400"):
        assert colour(server.request(f"/thumbs/{size}/1.jpg")) == "blue"
    assert server.log().count(" emptied: ") == 1


def held(path):
    """Tell whether somebody holds a byte of the lock file."""
    try:
        inode = f":{os.stat(path).st_ino} "
    except FileNotFoundError:
        return False
    return inode in pathlib.Path("/proc/locks").read_text()


def test_old_child_that_is_still_making_publishes_nothing_in_the_new_cache(graceful_server):
    """Its request was under way when httpd was told to restart gracefully."""
    server = graceful_server
    server.expect("emptied|the cache has another configuration now|restart Apache|AH00")
    server.settings("thumbnail.makers = 1\nthumbnail.wait = 60")
    server.start()
    assert colour(server.request("/thumbs/200x200/1.jpg")) == "red"
    answers = []
    slow = threading.Thread(
        target=lambda: answers.append(server.request("/thumbs/400x400/2.png").status)
    )
    # the request has read its row and opened its source, and waits for its turn to make it
    with locks.held(state_directory.path(server.work.cache, "makers")):
        slow.start()
        until(lambda: held(state_directory.path(server.work.cache, "waiters")))
        server.settings(f"lookup.database = {server.blue}")
        httpd.graceful(server.work)
        until(lambda: " emptied: " in server.log())
    slow.join()
    assert answers == [503]
    assert not pathlib.Path(server.work.cache, "thumbs", "400x400", "2.png").exists()
    assert colour(server.request("/thumbs/400x400/2.png")) == "blue"


def test_python_option_that_changes_the_lookup_is_500_with_one_line_in_each_child(server):
    server.expect("is that of another part of the site .* a thumbnail.cache of its own")
    option = (
        f"SetEnv PythonOption.lookup.database {server.blue}"
        if server.server == "mod_wsgi"
        else f"PythonOption lookup.database {server.blue}"
    )
    server.extra = f"<Location /thumbs/400x400>\n{option}\n</Location>"
    server.start()
    assert colour(server.request("/thumbs/200x200/1.jpg")) == "red"
    for _ in range(8):
        assert server.request("/thumbs/400x400/1.jpg").status == 500
    assert 1 <= server.log().count("a thumbnail.cache of its own") <= 3
    assert not pathlib.Path(server.work.cache, "thumbs", "400x400", "1.jpg").exists()


def test_cache_emptied_by_hand_needs_no_line(server):
    server.start()
    assert server.request("/thumbs/200x200/1.jpg").status == 200
    for path in pathlib.Path(server.work.cache).iterdir():
        # the children write there meanwhile
        remove(path)
    assert server.request("/thumbs/200x200/1.jpg").status == 200
    assert "emptied" not in server.log()


@pytest.fixture(autouse=True)
def quiet_logging(caplog):
    caplog.set_level(logging.WARNING, "handlers")
