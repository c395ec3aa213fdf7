"""mod_python's extension module: the locks that all processes of a server share."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

import handlers.mod_python
from handlers.mod_python import _apache, apache
from handlers.runtime import global_locks


@pytest.fixture
def options(tmp_path):
    return {"mod_python.mutex_directory": str(tmp_path)}


def test_lock_excludes_until_it_is_given_back(options):
    global_locks.lock(options, "key")
    assert global_locks.try_lock(options, "key") is False
    # the lock of number 0 is no key's
    assert global_locks.try_lock(options, None, 0) is True
    global_locks.unlock(options, "key")
    assert global_locks.try_lock(options, "key") is True
    global_locks.unlock(options, "key")
    global_locks.unlock(options, None, 0)


def test_lock_excludes_other_processes_and_ends_with_its_own(options):
    code = (
        "from handlers.runtime import global_locks as g\n"
        f"o = {options!r}\nprint(g.try_lock(o, 'key'), flush=True)\ninput()\n"
    )
    place = pathlib.Path(handlers.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:
        # one key is one number in every process
        assert other.stdout.readline() == "True\n"
        assert global_locks.try_lock(options, "key") is False
        other.kill()
    global_locks.lock(options, "key")
    global_locks.unlock(options, "key")


def test_lock_that_is_not_held_and_one_that_is_not_there(options):
    with pytest.raises(ValueError, match="not held"):
        global_locks.unlock(options, "key")
    for index in (8, -2):
        with pytest.raises(ValueError, match="8 global locks"):
            global_locks.lock(options, None, index)
    options["mod_python.mutex_locks"] = "16"
    global_locks.lock(options, None, 15)
    global_locks.unlock(options, None, 15)
    with pytest.raises(TypeError):
        global_locks.lock(options, [])
    with pytest.raises(ValueError, match="can't be held"):
        global_locks.lock({"mod_python.mutex_directory": "/no/such"}, "key")


def test_own_directory_is_made_for_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _apache._global_lock(apache.main_server, "key")
    _apache._global_unlock(apache.main_server, "key")
    directory = tmp_path / f"mod_python-{os.geteuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    (directory / "locks").unlink()
    directory.rmdir()
    directory.symlink_to("/tmp")
    with pytest.raises(ValueError, match="somebody else's"):
        _apache._global_lock(apache.main_server, "key")


def test_extension_module_is_known_by_its_name():
    handlers.mod_python.install_as_mod_python()
    import _apache as named

    assert named is _apache
    assert not handlers.mod_python.is_real()
    assert named.SERVER_RETURN is apache.SERVER_RETURN
    assert named.table is apache.table
    with pytest.raises(TypeError, match="server object"):
        named._global_lock(None, "key")


def test_processes_have_numbers_of_their_own(options, monkeypatch):
    # another test's is one of another directory
    monkeypatch.setattr(global_locks, "_number_of", None)
    assert global_locks.process_number(options) == global_locks.process_number(options)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, str(global_locks.process_number(options)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read) as file:
        assert int(file.read()) != global_locks.process_number(options)
