"""Configurations written in Python, and the basic one that a server starts with."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from mod_python import httpdconf
from mod_python.httpdconf import Comment, Container, Listen, PythonPath, VirtualHost

from handlers.quickstart.httpd import binary
from tests.servers.httpd import free_port


def test_objects_are_written_in_their_order_and_indented():
    host = VirtualHost("*:80", httpdconf.IfModule("mod_x.c", Listen("1")), Comment("a\nb"))
    assert str(Container(Listen("8000"), host)) == (
        "Listen 8000\n<VirtualHost *:80>\n  <IfModule mod_x.c>\n    Listen 1\n  </IfModule>\n"
        "  # a\n  # b\n</VirtualHost>\n"
    )


@pytest.mark.parametrize("name", [*httpdconf._DIRECTIVES, *httpdconf._SECTIONS])
def test_repr_makes_the_object_again(name):
    made = getattr(httpdconf, name)("a value")
    again = eval(repr(made), vars(httpdconf))
    assert (type(again).__name__, str(again)) == (name, str(made))


def test_backslashes_of_paths_are_turned():
    assert str(Listen("C:\\x")) == "Listen C:/x\n"
    assert str(PythonPath(r"['C:\\x']")) == "PythonPath ['C:\\\\x']\n"


@pytest.mark.parametrize(
    "condition, written",
    [
        (None, True),
        ("1 == 1", True),
        ("sys.version_info < (3,)", False),
        ("mod_python.version.HTTPD_VERSION[:3] == '2.4'", True),
    ],
)
def test_container_with_a_condition(condition, written):
    container = Container(Listen("1"), only_if=condition)
    assert bool(str(container)) == written
    assert str(eval(repr(container), vars(httpdconf))) == str(container)


def test_what_cannot_be_appended():
    container = Container()
    container.append(Listen("1"))
    with pytest.raises(TypeError):
        container.append("Listen 2")
    with pytest.raises(TypeError):
        Listen()
    assert str(container) == "Listen 1\n"


def test_basic_configuration_is_written_once(tmp_path, capsys):
    root = str(tmp_path / "root")
    path = httpdconf.write_basic_config(
        root,
        "127.0.0.1:8000",
        pythonpath=["/srv/code"],
        pythonoptions=["a.b c d", 'e "f"'],
        mp_comments=["a comment"],
    )
    assert path == f"{root}/conf/httpd_conf.py"
    said = capsys.readouterr().err
    assert f"Creating directory '{root}'" in said
    printed = subprocess.run(
        [sys.executable, path], check=True, capture_output=True, text=True
    ).stdout
    for line in (
        f"ServerRoot {root}",
        "Listen 127.0.0.1:8000",
        'SetEnv PythonHandler "mod_python.publisher"',
        "SetEnv PythonPath \"sys.path + ['/srv/code']\"",
        'SetEnv PythonOption.a.b "c d"',
        'SetEnv PythonOption.e "f"',
        "# a comment",
        r'LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined',
    ):
        assert f"{line}\n" in printed
    assert httpdconf.write_basic_config(root) is None
    assert "already exists, aborting" in capsys.readouterr().err
    assert httpdconf.write_basic_config(root, createdirs=False, replace_config=True) == path


@pytest.mark.server
def test_server_starts_with_the_basic_configuration(public_dir):
    port = free_port()
    root = public_dir / "root"
    write = (
        "import sys; from handlers.mod_python import httpdconf;"
        " print(httpdconf.write_basic_config(*sys.argv[1:]))"
    )
    # by the installed package: Apache's user need not be able to read the checkout
    how = {"check": True, "capture_output": True, "text": True, "cwd": "/"}
    write = [sys.executable, "-c", write, str(root), f"127.0.0.1:{port}"]
    path = subprocess.run(write, **how).stdout.strip()
    printed = subprocess.run([sys.executable, path], **how).stdout
    (root / "conf" / "httpd.conf").write_text(printed)
    (root / "public" / "index.py").write_text("def index(req):\n    return 'published'\n")
    subprocess.run(
        [binary(), "-d", root, "-f", "conf/httpd.conf"],
        check=True,
        env={"PATH": os.defpath},
    )
    pid = int(_until(lambda: (root / "logs" / "httpd.pid").read_text()))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            assert answer.read() == b"published"
    finally:
        os.kill(pid, signal.SIGTERM)
        _until(lambda: not (root / "logs" / "httpd.pid").exists())


def _until(ask):
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            if found := ask():
                return found
        assert time.monotonic() < deadline
        time.sleep(0.02)
