"""Session ids, serialisers, taking over mod_python's sessions, and opening a store by name."""

import collections
import os
import pickle
import time

import pytest

from handlers import sessions
from handlers.sessions import sid as sids
from handlers.sessions.dbm import DbmStore
from handlers.sessions.file import FileStore
from handlers.sessions.memcached import MemcachedStore
from handlers.sessions.memory import MemoryStore
from handlers.sessions.mysql import MysqlStore
from handlers.sessions.serial import SerialError, Serializer, read_secrets
from handlers.sessions.sqlite import SqliteStore
from handlers.sessions.store import StoreRefused, StoreUnavailable
from handlers.sessions.takeover import FileSessions

SECRET = b"sixteen bytes at least"
SID = "0123456789abcdef" * 2


# --- ids


def test_new_ids_are_valid_and_differ():
    made = {sids.new() for _ in range(1000)}
    assert len(made) == 1000
    assert all(sids.valid(sid) for sid in made)


@pytest.mark.parametrize(
    "text",
    ["", "0" * 31, "0" * 33, "0" * 32 + "\n", "G" * 32, "A" * 32, "../" + "0" * 29, "é" * 32],
)
def test_anything_else_is_no_id(text):
    assert not sids.valid(text)


def test_key_says_nothing_of_the_id_and_is_a_name_for_a_file():
    key = sids.key("../../etc/passwd\0")
    assert sids.valid(key)
    assert sids.key(SID) != SID


# --- serialisers

VALUE = {"text": "käse", "number": 7, "list": [1, None, True], "nested": {"a": 1.5}}


@pytest.mark.parametrize("secrets", [(), (SECRET,)])
@pytest.mark.parametrize("form", ["pickle", "json", "msgpack"])
def test_value_comes_back(form, secrets):
    serializer = Serializer(form, secrets)
    assert serializer.loads(serializer.dumps(VALUE, SID), SID) == VALUE


def test_pickle_keeps_classes():
    serializer = Serializer("pickle")
    value = {"counts": collections.Counter("abca"), (1, 2): {3}}
    assert serializer.loads(serializer.dumps(value, SID), SID) == value


@pytest.mark.parametrize("form", ["pickle", "json", "msgpack"])
def test_signed_content_that_was_changed_anywhere_is_refused(form):
    serializer = Serializer(form, [SECRET])
    data = serializer.dumps(VALUE, SID)
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(SerialError):
            serializer.loads(bytes(changed), SID)
    for length in range(len(data)):
        with pytest.raises(SerialError):
            serializer.loads(data[:length], SID)


def test_signed_content_of_another_session_is_refused():
    serializer = Serializer("json", [SECRET])
    with pytest.raises(SerialError):
        serializer.loads(serializer.dumps(VALUE, SID), sids.new())


def test_secret_can_be_replaced():
    old, both, new = (
        Serializer("pickle", secrets)
        for secrets in ([SECRET], [b"the next secret.", SECRET], [b"the next secret."])
    )
    assert both.loads(old.dumps(VALUE, SID), SID) == VALUE
    assert new.loads(both.dumps(VALUE, SID), SID) == VALUE
    with pytest.raises(SerialError):
        new.loads(old.dumps(VALUE, SID), SID)


class Bomb:
    exploded = False

    def __reduce__(self):
        return _explode, ()


def _explode():
    Bomb.exploded = True


def test_pickle_that_we_did_not_write_is_never_unpickled():
    bomb = b"p" + pickle.dumps(Bomb())
    for serializer in (
        Serializer("json"),
        Serializer("msgpack"),
        Serializer("pickle", [SECRET]),
        Serializer("json", [SECRET]),
    ):
        for data in (bomb, b"P" + bytes(32) + bomb[1:], bomb[1:], b"j" + bomb, b"m" + bomb):
            with pytest.raises(SerialError):
                serializer.loads(data, SID)
    signed = Serializer("pickle", [SECRET]).dumps(Bomb(), SID)
    with pytest.raises(SerialError):
        Serializer("json", [SECRET]).loads(signed, SID)
    assert not Bomb.exploded


def test_pickle_without_a_secret_is_refused_where_others_can_write():
    with pytest.raises(ValueError, match="secret"):
        Serializer("pickle", trusted=False)
    Serializer("pickle", [SECRET], trusted=False)
    Serializer("json", trusted=False)


def test_other_safe_forms_are_read_after_a_change_of_form():
    assert Serializer("msgpack").loads(Serializer("json").dumps(VALUE, SID), SID) == VALUE
    assert Serializer("pickle").loads(Serializer("msgpack").dumps(VALUE, SID), SID) == VALUE


@pytest.mark.parametrize("form", ["pickle", "json", "msgpack"])
def test_value_that_cannot_be_stored_is_an_error_with_a_name(form):
    with pytest.raises(SerialError, match="cannot be stored"):
        Serializer(form).dumps({"function": lambda: None}, SID)


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="marshal"):
        Serializer("marshal")


def test_secrets_are_read_from_a_private_file_only(tmp_path):
    path = tmp_path / "secrets"
    path.write_bytes(SECRET + b"\n\nthe one before it\n")
    path.chmod(0o600)
    assert read_secrets(path) == [SECRET, b"the one before it"]
    for mode in (0o604, 0o602, 0o620):
        path.chmod(mode)
        with pytest.raises(StoreRefused):
            read_secrets(path)
    path.chmod(0o640)
    for content in (b"", b"\n", b"short\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="16 bytes"):
            read_secrets(path)


# --- taking over


@pytest.fixture
def original(tmp_path):
    """mod_python's own directory, and a function that puts a session there."""
    path = tmp_path / "mp_sess"
    path.mkdir(mode=0o755)

    def put(values, sid=None, accessed=None, timeout=1800):
        sid = sid or sids.new()
        now = time.time() if accessed is None else accessed
        content = {"_data": values, "_created": now, "_accessed": now, "_timeout": timeout}
        (path / sid[:2]).mkdir(mode=0o750, exist_ok=True)
        file = path / sid[:2] / sid
        with open(file, "wb") as opened:
            pickle.dump(content, opened, 2)
        return sid, file

    return path, put


def test_session_of_mod_python_is_taken_over_once(original):
    path, put = original
    values = {"hits": 3, "seen": {1, 2}, "name": "käthe", "pair": (1, b"\xff", b""), "none": None}
    sid, file = put(values, timeout=77)
    old = FileSessions(path)
    taken = old.take(sid)
    assert taken.values == values
    assert taken.timeout == 77
    assert taken.accessed == pytest.approx(time.time(), abs=60)
    assert old.take(sid) == taken
    old.remove(sid)
    assert not file.exists()
    assert old.take(sid) is None
    old.remove(sid)


def test_expired_session_is_not_taken_over(original):
    path, put = original
    sid, _ = put({}, accessed=time.time() - 3600)
    assert FileSessions(path).take(sid) is None


def test_class_is_unpickled_only_when_that_is_allowed(original, caplog):
    path, put = original
    sid, _ = put({"bomb": Bomb()})
    Bomb.exploded = False
    assert FileSessions(path).take(sid) is None
    assert not Bomb.exploded
    assert "is a class, and none is allowed" in caplog.text
    FileSessions(path, classes=True).take(sid)
    assert Bomb.exploded


def test_file_that_others_could_have_written_is_not_taken_over(original, tmp_path, caplog):
    path, put = original
    old = FileSessions(path)
    sid, file = put({})
    file.chmod(0o646)
    assert old.take(sid) is None
    file.chmod(0o644)
    os.link(file, tmp_path / "other")
    assert old.take(sid) is None
    os.unlink(tmp_path / "other")
    assert old.take(sid) is not None
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert old.take(sid) is None
    file.unlink()
    os.mkfifo(file)
    assert old.take(sid) is None
    sid, file = put({})
    file.parent.chmod(0o777)
    assert old.take(sid) is None
    assert len(caplog.records) == 5


def test_directory_that_others_can_write_to_is_not_taken_over(original):
    path, _ = original
    path.chmod(0o777)
    with pytest.raises(StoreRefused):
        FileSessions(path)
    with pytest.raises(StoreUnavailable):
        FileSessions(path / "missing")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pickle.dumps([1]), pickle.dumps({"_data": 1})]
)
def test_file_that_is_no_session_is_not_taken_over(original, content):
    path, put = original
    sid, file = put({})
    file.write_bytes(content)
    assert FileSessions(path).take(sid) is None


def test_hostile_id_is_not_looked_for(original, tmp_path):
    path, _ = original
    (tmp_path / "victim").write_text("")
    old = FileSessions(path)
    for sid in ("../../victim", "../victim", "", "/etc/passwd"):
        assert old.take(sid) is None
        old.remove(sid)
    assert (tmp_path / "victim").exists()


# --- opening by name


def test_store_is_opened_by_name_and_options(tmp_path):
    here = {"mod_python.session.database_directory": str(tmp_path)}
    assert isinstance(sessions.open_store("file", here), FileStore)
    assert isinstance(sessions.open_store("dbm", here), DbmStore)
    assert isinstance(sessions.open_store("memory", {}), MemoryStore)
    assert isinstance(sessions.open_store("memcached", {}), MemcachedStore)
    mysql = {"mod_python.session.database": "mysql://user@localhost/name"}
    assert isinstance(sessions.open_store("sql", mysql), MysqlStore)
    sqlite = {"mod_python.session.database": f"sqlite:///{tmp_path}/sessions.db"}
    opened = sessions.open_store("sql", sqlite)
    assert isinstance(opened, SqliteStore)
    assert os.stat(tmp_path / "sessions.db").st_mode & 0o777 == 0o600
    opened.close()


@pytest.mark.parametrize(
    "name",
    [
        "mod_python.file_session.database_directory",
        "mod_python.session.database_directory",
    ],
)
def test_directory_is_found_under_all_names_of_mod_python(tmp_path, name):
    store = sessions.open_store("file", {name: str(tmp_path)})
    assert store.path == str(tmp_path / "mp_sessions")


def test_dbm_file_is_found_under_the_name_of_mod_python(tmp_path):
    given = {"mod_python.dbm_session.database_filename": str(tmp_path / "here.dbm")}
    assert sessions.open_store("dbm", given).path == str(tmp_path / "here.dbm")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("redis", {}),
        ("sql", {}),
        ("sql", {"mod_python.session.database": "nonsense"}),
        ("memory", {"mod_python.session.max_size": "much"}),
        ("file", {"mod_python.session.sync": "perhaps"}),
        ("memcached", {"mod_python.session.servers": " "}),
        ("memcached", {"mod_python.session.servers": "localhost:word"}),
        ("memcached", {"mod_python.session.servers": "127.0.0.1:11211 localhost:99999"}),
        ("memcached", {"mod_python.session.key_prefix": "our shop:"}),
        ("memcached", {"mod_python.session.key_prefix": "b\u00fccher:"}),
    ],
)
def test_name_or_option_that_makes_no_sense_is_refused(name, options, tmp_path):
    options = {"mod_python.session.database_directory": str(tmp_path), **options}
    with pytest.raises(ValueError):
        sessions.open_store(name, options)


def test_size_limit_is_an_option():
    store = sessions.open_store("memory", {"mod_python.session.max_size": "1000"})
    assert store.max_size == 1000


def test_sweeper_is_made_from_the_options():
    store = MemoryStore()
    sweeper = sessions.open_sweeper(
        store,
        {
            "mod_python.session.sweep_interval": "5",
            "mod_python.session.sweep_rate": "100",
            "mod_python.file_session.cleanup_grace_period": "7",
        },
    )
    assert (sweeper._interval, sweeper._deletes, sweeper._grace) == (5, 100, 7)
    assert sessions.open_sweeper(store, {})._grace == 240


def test_store_that_needs_no_sweep_starts_no_thread():
    sweeper = sessions.open_sweeper(sessions.open_store("memcached", {}), {})
    sweeper.start()
    assert sweeper._thread is None
    sweeper.stop()


def test_msgpack_keeps_keys_that_are_no_text():
    serializer = Serializer("msgpack")
    sid = sids.new()
    assert serializer.loads(serializer.dumps({1: "one"}, sid), sid) == {1: "one"}
