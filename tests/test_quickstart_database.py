"""apache_conf/quickstart on databases of the user's."""

import contextlib
import os
import pathlib
import sqlite3
import stat
import subprocess

import pytest

from tests.servers.quickstart import failure


def test_mariadb_by_tcp_and_by_socket(quickstart, pictures, mariadb):
    mariadb.execute("DROP DATABASE IF EXISTS quick", "CREATE DATABASE quick")
    for url in (mariadb.url("quick"), mariadb.socket_url("quick")):
        done = quickstart.start(pictures[0], "--database", url)
        assert done.returncode == 0, done.stderr
        assert quickstart.get("/thumbs/200x200/sub-p001.jpg")[0] == 200
        quickstart.run("--stop")


def test_table_of_others_is_read_and_never_changed(quickstart, pictures, mariadb):
    mariadb.execute(
        "DROP DATABASE IF EXISTS theirs",
        "CREATE DATABASE theirs",
        "CREATE TABLE theirs.images (id INT PRIMARY KEY, path TEXT)",
        "INSERT INTO theirs.images VALUES (7, 'sub/p007.jpg')",
    )
    url = mariadb.url("theirs")
    assert "PICTURES_DIR" in failure(quickstart.start("--database", url))
    done = quickstart.start(pictures[0], "--database", url)
    assert done.returncode == 0, done.stderr
    assert f"1 of {pictures[0]}" in done.stdout
    # the printed thumbnail is one of the table's, not of the folder's
    assert "/thumbs/200x200/7.jpg" in done.stdout
    assert quickstart.get("/thumbs/200x200/7.jpg")[0] == 200
    assert mariadb.execute("SELECT * FROM theirs.images") == [(7, "sub/p007.jpg")]


def test_private_column_of_others_is_honoured(quickstart, pictures, public_dir):
    path = public_dir / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE images (id TEXT, path TEXT, private INTEGER)")
        connection.execute("INSERT INTO images VALUES ('a', 'sub/p001.jpg', 0)")
        connection.execute("INSERT INTO images VALUES ('b', 'sub/p002.jpg', 1)")
    connection.close()
    assert quickstart.start(pictures[0], "--database", f"sqlite:///{path}").returncode == 0
    assert quickstart.get("/thumbs/200x200/a.jpg")[0] == 200
    assert quickstart.get("/thumbs/200x200/b.jpg")[0] == 404


@pytest.mark.parametrize("kind", ["sqlite", "mysql"])
def test_table_without_the_columns(quickstart, pictures, public_dir, mariadb, kind):
    create = "CREATE TABLE {}images (number INTEGER, file VARCHAR(20))"
    if kind == "sqlite":
        url = f"sqlite:///{public_dir}/other.db"
        with sqlite3.connect(public_dir / "other.db") as connection:
            connection.execute(create.format(""))
        connection.close()
    else:
        mariadb.execute(
            "DROP DATABASE IF EXISTS other", "CREATE DATABASE other", create.format("other.")
        )
        url = mariadb.url("other")
    said = failure(quickstart.start(pictures[0], "--database", url))
    assert "the table images" in said and "id" in said
    assert not (quickstart.work / "run" / "httpd.pid").exists()


def test_database_of_another_user_is_read_with_that_users_rights_at_most(
    quickstart, pictures, public_dir
):
    """Root makes nothing in a directory of www-data, not even a journal."""
    directory = public_dir / "theirs"
    directory.mkdir()
    path = directory / "images.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE images (id TEXT, path TEXT)")
        connection.execute("INSERT INTO images VALUES ('a', 'sub/p001.jpg')")
    connection.close()
    os.chown(directory, 33, 33)
    os.chown(path, 33, 33)
    assert quickstart.start(pictures[0], "--database", f"sqlite:///{path}").returncode == 0
    assert quickstart.get("/thumbs/200x200/a.jpg")[0] == 200
    quickstart.run("--stop")
    # one that is not there is made by www-data, not by root
    new = f"sqlite:///{directory}/new.db"
    assert quickstart.start(pictures[0], "--database", new).returncode == 0
    assert {entry.stat().st_uid for entry in directory.iterdir()} == {33}


def arguments_of_processes():
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue


@pytest.mark.parametrize("way", ["--database", "--database-file"])
def test_password_is_in_no_process_list_and_in_no_readable_file(
    quickstart, pictures, public_dir, mariadb, way
):
    mariadb.execute(
        "DROP DATABASE IF EXISTS secrets",
        "CREATE DATABASE secrets",
        "CREATE OR REPLACE USER 'q'@'%' IDENTIFIED BY 'v3rysecret'",
        "GRANT ALL ON secrets.* TO 'q'@'%'",
    )
    url = mariadb.url("secrets", "q", "v3rysecret")
    if way == "--database-file":
        (public_dir / "url").write_text(url + "\n")
        (public_dir / "url").chmod(0o600)
        url = public_dir / "url"
    command = quickstart.command(pictures[0], way, url, "--port", quickstart.port)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    shown = b""
    for line in process.stdout:
        shown += line.encode()
        if "Gallery:" in line:
            break
    assert quickstart.get("/thumbs/200x200/sub-p001.jpg")[0] == 200
    for arguments in arguments_of_processes():
        assert b"v3rysecret" not in arguments
    assert b"v3rysecret" not in shown
    for path in quickstart.work.rglob("*"):
        # the server at work removes some
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and b"v3rysecret" in path.read_bytes():
                assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO, path
    process.terminate()
    process.communicate(timeout=600)


def test_database_file_that_everybody_can_read_is_named(quickstart, pictures, public_dir):
    path = public_dir / "url"
    path.write_text(f"sqlite:///{public_dir}/own.db\n")
    path.chmod(0o644)
    done = quickstart.start(pictures[0], "--database-file", path)
    assert done.returncode == 0
    assert f"chmod 600 {path}" in done.stderr
