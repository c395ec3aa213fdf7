"""Mistakes of the kind that a first hour is made of: each says what it is, on real Apache."""

import errno
import os
import re
import shutil
import sqlite3
from unittest.mock import Mock

import pytest

from handlers import access, duties, receipt
from tests.servers.httpd import Httpd, make_images_table
from tests.support import run_command, until

needs_another_user = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start Apache's children as another user"
)


@pytest.fixture
def root(public_dir):
    """A root of the test's own, with one picture in it."""
    root = public_dir / "pictures"
    root.mkdir()
    return root


@pytest.fixture
def site(own_site, root, pictures):
    """A site with the picture ``p`` below that root, not started yet."""
    shutil.copy(pictures[0] / "sub" / "p001.jpg", root / "a.jpg")
    own_site.settings(f"images.root = {root}")
    table(own_site, ("p", "a.jpg"))
    return own_site


def database(site):
    return os.path.join(os.path.dirname(site.work.directory), "images.db")


def table(site, *rows):
    """Replace the rows of the table."""
    connection = sqlite3.connect(database(site))
    with connection:
        connection.execute("DELETE FROM images")
        connection.executemany("INSERT INTO images (id, path) VALUES (?, ?)", rows)
    connection.close()


def asked(site, path, times=6):
    """Ask often enough for each child to have its turn; return the statuses and the last answer."""
    answers = [site.request(path) for _ in range(times)]
    return {answer.status for answer in answers}, answers[-1]


def lines(site, text):
    """Return the lines of the log that hold *text*, and assert that no child said one twice."""
    found = [line for line in site.log().splitlines() if text in line]
    children = [re.search(r"\[pid (\d+)", line)[1] for line in found]
    assert len(children) == len(set(children)), found
    assert "Traceback" not in site.log()
    return found


# images.root


def unusable_for_a_while(site, root, why, spoil, mend):
    """The root is *why*, until it is mended: 503 and one line in each child."""
    says = f"images.root {root}: {why}"
    site.expect(re.escape(says))
    spoil()
    site.start()
    for path in ("/thumbs/200x200/p.jpg", "/images/p"):
        statuses, answer = asked(site, path)
        assert (statuses, answer.headers["Retry-After"]) == ({503}, "3")
    found = lines(site, "images.root")
    assert 1 <= len(found) <= site.children
    assert all(says in line for line in found), found
    mend()
    assert asked(site, "/images/p", 1)[0] == {200}
    assert asked(site, "/thumbs/200x200/p.jpg", 1)[0] == {200}


def test_root_that_is_missing(site, root):
    away = f"{root}.away"
    unusable_for_a_while(
        site, root, "no such directory", lambda: root.rename(away), lambda: os.rename(away, root)
    )


def test_root_that_is_a_file(site, root):
    away = f"{root}.away"

    def spoil():
        root.rename(away)
        root.touch()

    def mend():
        # at once, as a child may look in between
        (root.parent / "link").symlink_to(away)
        os.rename(root.parent / "link", root)

    unusable_for_a_while(site, root, "not a directory", spoil, mend)


@needs_another_user
def test_root_that_is_closed(site, root):
    unusable_for_a_while(
        site,
        root,
        "Apache's user www-data may not read it",
        lambda: root.chmod(0o700),
        lambda: root.chmod(0o755),
    )


@needs_another_user
def test_root_below_a_closed_directory(site, root):
    closed = root.parent / "closed"
    closed.mkdir(mode=0o700)
    inner = closed / "pictures"
    root.rename(inner)
    root.symlink_to(inner)
    unusable_for_a_while(
        site,
        root,
        f"Apache's user www-data may not enter {closed}",
        lambda: None,
        lambda: closed.chmod(0o755),
    )


def test_root_that_goes_away_while_the_site_runs_and_comes_back(site, root, pictures):
    site.start()
    assert site.request("/thumbs/200x200/p.jpg").status == 200
    away = f"{root}.away"
    site.expect(f"images.root {root}")
    for emptied in (False, True):
        # unmounted: the directory itself may be left
        root.rename(away)
        if emptied:
            root.mkdir()
        assert asked(site, "/images/p")[0] == {503}
        assert asked(site, "/thumbs/200x200-crop/p.jpg")[0] == {503}
        # what is made already is served all the same
        assert site.request("/thumbs/200x200/p.jpg").status == 200
        if emptied:
            root.rmdir()
        os.rename(away, root)
        assert asked(site, "/images/p")[0] == {200}
    assert site.request("/thumbs/200x200-crop/p.jpg").status == 200
    assert f"images.root {root}: it is empty: is its file system mounted?" in site.log()


def test_root_that_is_missing_ends_a_command_in_one_line(site, root):
    # a child that has not looked yet says it as well
    site.expect(f"images.root {root}: no such directory$")
    site.start()
    root.rename(f"{root}.away")
    settings = os.path.join(site.work.etc, "settings.ini")
    done = run_command(settings, "cache", "warm", "--sizes", "9x9", "p")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"images.root {root}: no such directory" in done.stderr


# paths


def test_absolute_paths_below_the_root_are_taken(site, root):
    outside = root.parent / "outside.jpg"
    shutil.copy(root / "a.jpg", outside)
    (root / "out.jpg").symlink_to(outside)
    (root.parent / "alias").symlink_to(root)
    site.settings(f"images.root = {root.parent}/alias")
    table(
        site,
        ("real", f"{root}/a.jpg"),
        ("link", f"{root.parent}/alias/./a.jpg"),
        ("beside", str(outside)),
        ("prefix", f"{root}.away/a.jpg"),
        ("up", f"{root}/../outside.jpg"),
        ("out", f"{root}/out.jpg"),
        ("root", str(root)),
    )
    site.expect("(thumbnail|original) .*: (an absolute path|has a ..|leads out of|no such file)")
    site.start()
    for id, status in (
        ("real", 200),
        ("link", 200),
        ("beside", 404),
        ("prefix", 404),
        ("up", 404),
        ("out", 404),
        ("root", 404),
    ):
        assert site.request(f"/thumbs/200x200/{id}.jpg").status == status, id
        assert site.request(f"/images/{id}").status == status, id


# settings.ini


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("scans = many", "thumbnail.scans: 'many' is not a whole number"),
        ("bytes = 20G", "thumbnail.bytes is unknown: did you mean cache.bytes"),
        ("[cach]", "section [cach] is unknown: did you mean [cache]"),
        ("database mysql://u:hush@h/d", "neither [section] nor name = value"),
    ],
)
def test_fault_of_the_settings_is_one_line_and_500(site, line, says):
    path = os.path.join(site.work.etc, "settings.ini")
    with open(path, encoding="utf-8") as file:
        above, section, below = file.read().partition("[thumbnail]\n")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{above}{section}{line}\n{below}")
    place = f"settings.ini, line {above.count(chr(10)) + 2}: "
    site.expect(re.escape(place))
    site.start(warm=False)
    for url in ("/thumbs/200x200/p.jpg", "/images/p", "/"):
        assert asked(site, url)[0] == {500}
    assert site.request("/favourites", "POST", body="id=p").status == 500
    assert site.request("/signin").status == 500
    found = lines(site, place)
    assert 1 <= len(found) <= site.children
    assert all(says in line for line in found), found
    assert "hush" not in site.log()


@needs_another_user
def test_settings_that_may_not_be_read(site):
    path = os.path.join(site.work.etc, "settings.ini")
    os.chown(path, 0, 0)
    says = f"settings file {path}: Apache's user www-data may not read it"
    site.expect(re.escape(says))
    site.start(warm=False)
    assert asked(site, "/thumbs/200x200/p.jpg")[0] == {500}
    assert 1 <= len(lines(site, says)) <= site.children


def test_users_that_are_missing_are_one_line(site):
    path = os.path.join(site.work.etc, "nobody")
    site.settings(f"gallery.users = {path}")
    site.expect(f"gallery.users {path}: no such file")
    site.start()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(6):
        assert site.request("/signin", "POST", form, "user=a&password=b").status == 503
    assert 1 <= len(lines(site, "gallery.users")) <= site.children


def test_python_option_that_is_unknown_is_one_line_and_500(site):
    option = "SetEnv PythonOption." if site.server == "mod_wsgi" else "PythonOption "
    site.extra = f"<Location /images>\n{option}images.rot /srv\n{option}others.name x\n</Location>"
    site.expect(r"PythonOption images\.rot is unknown: did you mean images\.root$")
    site.start()
    assert asked(site, "/images/p")[0] == {500}
    assert site.request("/thumbs/200x200/p.jpg").status == 200
    assert 1 <= len(lines(site, "images.rot is unknown")) <= site.children


@pytest.mark.parametrize("value", ["yes", "0"])
def test_flags_are_one_grammar(site, value):
    site.settings(
        f"thumbnail.animated = {value}\nlookup.encode_ids = {value}\n"
        f"mod_python.session.sync = {value}"
    )
    site.start()
    assert site.request("/thumbs/200x200/p.jpg").status == 200
    assert site.request("/").status == 200


# the database's file


@pytest.fixture
def snapshot(request, site):
    if request.param:
        # the gallery waits for both until it gives up
        site.settings("lookup.connect_timeout = 0.3\nlookup.timeout = 0.3")
        site.settings(f"lookup.snapshot = {site.work.snapshot}")
    return request.param


with_and_without = pytest.mark.parametrize("snapshot", [False, True], indirect=True)


def refused_by_the_database(site, says):
    site.expect(f"lookup: database sqlite://.*: {says}")
    site.expect("lookup: database .* is back")
    site.start(warm=False)
    statuses, answer = asked(site, "/thumbs/200x200/p.jpg")
    assert statuses == {503}
    assert int(answer.headers["Retry-After"]) >= 1
    found = lines(site, "lookup: database")
    assert 1 <= len(found) <= site.children
    assert all(re.search(says, line) for line in found)


@with_and_without
def test_database_that_is_missing(site, snapshot):
    path = database(site)
    os.rename(path, path + ".away")
    refused_by_the_database(site, "no such file: correct lookup.database; until then")
    os.rename(path + ".away", path)
    until(lambda: site.request("/thumbs/200x200/p.jpg").status == 200)


@with_and_without
def test_database_that_is_none(site, snapshot):
    with open(database(site), "wb") as file:
        file.write(b"no database " * 500)
    refused_by_the_database(site, "not an SQLite database: correct lookup.database; until then")


@needs_another_user
@with_and_without
def test_database_that_may_not_be_read(site, snapshot):
    os.chmod(database(site), 0o600)
    refused_by_the_database(
        site, "Apache's user www-data may not read it: give it the right to, or correct lookup.da"
    )


@needs_another_user
def test_database_in_a_closed_directory(site, root):
    closed = root.parent / "closed"
    closed.mkdir(mode=0o700)
    os.rename(database(site), closed / "images.db")
    site.settings(f"lookup.database = sqlite:///{closed}/images.db")
    refused_by_the_database(site, f"Apache's user www-data may not enter {closed}: give it")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("lookup.table = pictuers", "no such table: pictuers: correct lookup.table;"),
        ("lookup.path = fiel", "no such column: fiel: correct lookup.path;"),
        ("lookup.private = hiden", "no such column: hiden: correct lookup.private;"),
    ],
)
@with_and_without
def test_table_or_column_that_is_missing(site, snapshot, option, says):
    site.settings(option)
    refused_by_the_database(site, says)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("lookup.table = pictuers", r"pictuers' doesn't exist: correct lookup\.table;"),
        ("lookup.path = fiel", r"Unknown column 'fiel' in '.*': correct lookup\.path;"),
        ("lookup.focus_x = fx", r"Unknown column 'fx' in '.*': correct lookup\.focus_x;"),
    ],
)
def test_table_or_column_that_is_missing_in_mariadb(site, mariadb, option, says):
    mariadb.execute(
        "CREATE DATABASE IF NOT EXISTS mistakes",
        "CREATE TABLE IF NOT EXISTS mistakes.images (id VARCHAR(9) PRIMARY KEY, path TEXT)",
    )
    site.settings(f"lookup.database = {mariadb.url('mistakes')}\n{option}")
    site.expect(f"lookup: database mysql://.*{says}")
    site.start(warm=False)
    assert asked(site, "/thumbs/200x200/p.jpg")[0] == {503}
    assert 1 <= len(lines(site, "lookup: database")) <= site.children


# the cache's directory


def unwritable(site, says):
    site.expect(re.escape(says))
    site.start(warm=False)
    statuses, answer = asked(site, "/thumbs/200x200/p.jpg")
    assert (statuses, answer.headers["Retry-After"]) == ({503}, "3")
    assert asked(site, "/images/p", 1)[0] == {200}
    assert 1 <= len(lines(site, says)) <= site.children
    assert "AH01630" not in site.log()


@needs_another_user
@with_and_without
def test_cache_that_is_missing(site, snapshot):
    cache = site.work.cache
    # it lies in the cache, too
    site.expect("lookup.snapshot .*handlers-state")
    shutil.rmtree(cache)
    unwritable(site, f"{cache}: no such directory: mkdir -p {cache} && chown www-data: {cache}")
    # at once, as a child may look in between
    made = f"{cache}.made"
    os.mkdir(made)
    shutil.chown(made, "www-data", "www-data")
    os.rename(made, cache)
    assert site.request("/thumbs/200x200/p.jpg").status == 200


@needs_another_user
@with_and_without
def test_cache_of_another_owner(site, snapshot):
    cache = site.work.cache
    site.expect("lookup.snapshot .*handlers-state")
    shutil.rmtree(cache)
    os.mkdir(cache)
    unwritable(
        site,
        f"{cache} belongs to root, and Apache's user www-data may not write there: "
        f"chown -R www-data: {cache}",
    )
    shutil.chown(cache, "www-data", "www-data")
    assert site.request("/thumbs/200x200/p.jpg").status == 200


def test_cache_that_is_mended_while_its_fault_is_looked_for(tmp_path, monkeypatch, caplog):
    cache = str(tmp_path / "cache")
    explain = access.why_unwritable

    def explain_late(directory, error):
        os.mkdir(cache)
        return explain(directory, error)

    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), cache)
    monkeypatch.setattr(access, "why_unwritable", explain_late)
    monkeypatch.setattr(os, "makedirs", Mock(side_effect=[refused, None]))
    assert duties._check_cache(cache)
    assert not caplog.records


def test_directory_that_is_missing_when_looked_at_is_not_called_forbidden(tmp_path):
    with pytest.raises(FileNotFoundError):
        access.check_writable(str(tmp_path / "cache"))


def test_full_disk_is_one_fault_whatever_file_meets_it(tmp_path):
    for number, is_one in ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)):
        met = [OSError(number, os.strerror(number), f"{tmp_path}/{name}") for name in "ab"]
        assert (len({access.why_unwritable(str(tmp_path), one) for one in met}) == 1) == is_one


def test_cache_that_cannot_be_claimed_says_what_requests_say(tmp_path, monkeypatch, caplog):
    path = tmp_path / "settings.ini"
    path.write_text(f"[thumbnail]\ncache = {tmp_path}/cache\n")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "claimed"))
    monkeypatch.setattr(receipt, "write", Mock(side_effect=full))
    duties._prepared(str(path))
    assert caplog.messages == [
        f"thumbnail.cache {tmp_path}/cache cannot be written: No space left on device"
    ]


def test_refusal_that_owner_and_mode_do_not_explain(tmp_path):
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))
    why = access.why_unwritable(str(tmp_path), refused)
    assert "chmod" not in why and "AppArmor" in why, why


# rows that no URL reaches


def test_rows_that_no_url_reaches_are_counted(public_dir, pictures):
    url = make_images_table(public_dir / "images.db", {"p": "sub/p001.jpg"})
    connection = sqlite3.connect(public_dir / "images.db")
    with connection:
        connection.execute("DROP TABLE images")
        connection.execute("CREATE TABLE images (id TEXT, path TEXT)")
        rows = [("p", "sub/p001.jpg"), ("foo.bar", "x"), ("a/b", "x"), ("ü", "x"), (" ", "x")]
        rows += [(None, "x"), ("", "x"), ("null", None)]
        connection.executemany("INSERT INTO images VALUES (?, ?)", rows)
    connection.close()
    for snapshot in (False, True):
        site = Httpd(
            public_dir / f"site{snapshot}",
            "mod_wsgi",
            url,
            pictures[0],
            snapshot=snapshot,
        )
        with site.stopped_at_the_end():
            site.start()
            log = site.log(0)
            for says in (
                "lookup: 4 of 8 ids cannot stand in a URL, for example 'foo.bar': "
                "set lookup.encode_ids = on",
                "lookup: 2 of 8 rows have no id",
                "lookup: 1 of 8 rows has no path",
            ):
                assert 1 <= log.count(says) <= (1 if snapshot else site.children), log
            assert site.request("/thumbs/200x200/foo.bar.jpg").status == 404
