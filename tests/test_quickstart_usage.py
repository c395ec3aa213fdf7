"""apache_conf/quickstart refuses what cannot work, in one line, before it makes anything."""

import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

from handlers.quickstart import install
from tests.servers.httpd import free_port
from tests.servers.quickstart import SCRIPT, failure

CHECKOUT = SCRIPT.parent.parent


@pytest.fixture
def untouched(quickstart):
    """The script, of which nothing may be left."""
    yield quickstart
    assert not quickstart.work.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot", "80"], "unknown option --prot: did you mean --port?"),
        (["--prot=80"], "did you mean --port?"),
        (["--por", "8080"], "did you mean --port?"),
        (["-x"], "unknown option -x"),
        (["--port"], "--port: expected one argument"),
        (["--port", "http"], "'http' is not a number"),
        (["--port", "0"], "0 is not between 1 and 65535"),
        (["--port", "65536"], "65536 is not between 1 and 65535"),
        (["--port", "-1"], "--port"),
        (["--children", "0"], "0 is not between"),
        (["--children", "many"], "'many' is not a number"),
        (["--server", "nginx"], "nginx"),
        (["--listen", "example.org"], "'example.org' is not an IP address"),
        (["--listen", "127.0.0.1:80"], "is not an IP address"),
        (["--database", "oracle://u:secret@h/x"], "'oracle' is unknown"),
        (["--database", "mysql://u:sec/ret@h/x"], "percent-encode"),
        (["--database", ""], "must look like"),
        (["--database", "sqlite:////a", "--database-file", "b"], "not allowed with"),
        (["--detach", "--stop"], "not allowed with"),
        (["/srv", "/tmp"], "one PICTURES_DIR at most"),
        ([""], "empty"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(untouched, arguments, said):
    line = failure(untouched.run(*arguments), status=2)
    assert said in line and "--help" in line
    assert "secret" not in line and "sec/ret" not in line


@pytest.mark.parametrize("work", ["", "a b", "a\tb", "a'b", 'a"b', "a$b", "a%b", "a\nb"])
def test_directories_that_apache_could_not_name(public_dir, work):
    done = subprocess.run([SCRIPT, "--work", work], capture_output=True, text=True, cwd=public_dir)
    assert "quickstart: " in failure(done, status=2)


def test_folder_missing(untouched, public_dir):
    assert "not a folder" in failure(untouched.start(public_dir / "nowhere"))


def test_folder_is_a_file(untouched, public_dir):
    (public_dir / "file").write_text("")
    assert "not a folder" in failure(untouched.start(public_dir / "file"))


def test_folder_unreadable(untouched, public_dir):
    closed = public_dir / "closed"
    (closed / "in").mkdir(parents=True)
    closed.chmod(0o700)
    assert "www-data cannot read the folder" in failure(untouched.start(closed))
    assert f"{closed} is closed" in failure(untouched.start(closed / "in"))


def test_work_directory_where_apache_cannot_go(public_dir, quickstart):
    closed = public_dir / "closed"
    closed.mkdir(0o700)
    quickstart.work = closed / "work"
    assert f"{closed} is closed" in failure(quickstart.start())
    assert not quickstart.work.exists()


def test_port_in_use(untouched, pictures):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", untouched.port))
        taken.listen()
        assert "in use" in failure(untouched.start(pictures[0]))


def test_address_of_another_machine(untouched, pictures):
    done = untouched.start(pictures[0], "--listen", "192.0.2.77")
    assert "192.0.2.77 is no address of this machine" in failure(done)


def in_namespace(quickstart, mounts, *arguments):
    """Run the script where other files stand at the paths *mounts*: {path: what stands there}."""
    lines = [f"mount --bind {new} {path} || exit 99" for path, new in mounts.items()]
    script = "\n".join([*lines, 'exec "$@"'])
    command = quickstart.command(*arguments, "--port", quickstart.port)
    return quickstart.execute(["unshare", "-m", "sh", "-c", script, "", *command])


def test_mod_python_where_there_is_none(untouched, public_dir, pictures):
    """As on Debian 13: no module, and none in the package lists."""
    empty = public_dir / "empty"
    empty.mkdir()
    release = public_dir / "os-release"
    release.write_text('NAME="Debian GNU/Linux"\nVERSION_ID="13"\nID=debian\n')
    policy = public_dir / "apt-cache"
    policy.write_text(
        '#!/bin/sh\necho "$2:"; case $2 in *python) c="(none)";; *) c=2.4.65-1;; esac\n'
        'echo "  Candidate: $c"\n'
    )
    policy.chmod(0o755)
    mounts = {
        "/usr/lib/apache2/modules": empty,
        "/etc/os-release": release,
        "/usr/bin/apt-cache": policy,
    }
    done = in_namespace(untouched, mounts, pictures[0], "--server", "mod_python")
    line = failure(done)
    assert "mod_python is not available on Debian 13: use --server mod_wsgi" in line


def test_machine_without_python(untouched, public_dir):
    nothing = public_dir / "nothing"
    nothing.write_text("")
    real = pathlib.Path("/usr/bin/python3").resolve()
    done = in_namespace(untouched, {real: nothing}, "--help")
    assert failure(done) == (
        "quickstart: /usr/bin/python3 is not installed and all the rest needs it: "
        "apt install python3"
    )


def test_help_needs_nothing(untouched):
    done = untouched.execute([SCRIPT, "--help"])
    assert done.returncode == 0
    assert "--database-file FILE" in done.stdout


def test_stop_and_status_without_a_server(untouched):
    for action in ("--stop", "--status"):
        assert "nothing runs" in failure(untouched.run(action))


def test_relative_database(untouched, pictures):
    done = untouched.start(pictures[0], "--database", "sqlite:///pictures.db")
    assert "relative" in failure(done)


def test_database_in_no_directory(untouched, pictures, public_dir):
    done = untouched.start(pictures[0], "--database", f"sqlite:///{public_dir}/none/x.db")
    assert "is not a directory" in failure(done)


def test_database_that_apache_cannot_open(untouched, pictures, public_dir):
    path = public_dir / "closed.db"
    path.write_bytes(b"")
    path.chmod(0o600)
    done = untouched.start(pictures[0], "--database", f"sqlite:///{path}")
    assert "www-data cannot read the database" in failure(done)
    closed = public_dir / "closed"
    closed.mkdir(0o700)
    done = untouched.start(pictures[0], "--database", f"sqlite:///{closed}/new.db")
    assert f"{closed} is closed" in failure(done)
    assert not (closed / "new.db").exists()


def test_database_file(untouched, pictures, public_dir):
    path = public_dir / "url"
    arguments = (pictures[0], "--database-file", path)
    assert "No such file" in failure(untouched.start(*arguments))
    path.write_text("")
    assert "one line" in failure(untouched.start(*arguments))
    path.write_text("mysql://u:secret@h/a\nmysql://u:secret@h/b\n")
    path.chmod(0o600)
    assert "one line" in failure(untouched.start(*arguments))
    path.write_text("mysql://u:sec?ret@h/a\n")
    assert "secret" not in failure(untouched.start(*arguments), status=2)
    path.write_text("sqlite:///relative.db\n")
    assert "relative" in failure(untouched.start(*arguments))
    path.write_bytes(b"mysql://u:\xff@h/a\n")
    assert "UTF-8" in failure(untouched.start(*arguments))


def test_database_not_reachable(quickstart, pictures):
    url = f"mysql://u:secret@127.0.0.1:{free_port()}/x"
    said = failure(quickstart.start(pictures[0], "--database", url))
    assert "127.0.0.1" in said and "secret" not in said


@pytest.fixture
def checkout(tmp_path):
    """A copy of what is installed."""
    for name in ("handlers", "apache_conf"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    shutil.copy(CHECKOUT / "setup.cfg", tmp_path)
    return tmp_path


# the environment of the quick part has no mod_wsgi, which nobody has compiled for it
@pytest.mark.slow
def test_environment_that_holds_the_checkout_is_current(checkout):
    assert install.is_current(sys.prefix, str(checkout))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda checkout: (checkout / "handlers" / "new.py").write_text(""),
        lambda checkout: (checkout / "handlers" / "child.py").unlink(),
        lambda checkout: (checkout / "handlers" / "child.py").write_text("x = 1\n"),
        lambda checkout: (checkout / "apache_conf" / "handlers-site.conf").write_text("# new\n"),
        lambda checkout: (checkout / "setup.cfg").write_text(
            (checkout / "setup.cfg").read_text().replace("pillow>=", "pillow>=9")
        ),
        lambda checkout: (checkout / "setup.cfg").write_text(
            (checkout / "setup.cfg").read_text().replace("pillow>=", "surely_not_installed>=")
        ),
    ],
    ids=["new", "gone", "changed", "drop-in", "later requirement", "new requirement"],
)
def test_environment_is_not_current_after_a_change(checkout, change):
    change(checkout)
    assert not install.is_current(sys.prefix, str(checkout))


def test_environment_that_is_none_is_not_current(checkout, tmp_path):
    assert not install.is_current(str(tmp_path / "none"), str(checkout))


INTERRUPTED_IN_A_HOOK = """
import os, signal, sys, time
from handlers.quickstart import serving

sys.unraisablehook = lambda found: print("dropped", found.exc_type.__name__, flush=True)
serving._end_as_by_interrupt()
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGINT))
if os.fork() == 0:
    os._exit(0)
try:
    time.sleep(300)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_interrupt_that_python_drops_comes_again():
    command = [sys.executable, "-c", INTERRUPTED_IN_A_HOOK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.split() == ["dropped", "KeyboardInterrupt", "interrupted"]
