"""``modpython-handlers convert``: files and standard input, reports, scripts, exit status."""

import io
import json
import os
import stat
import sys

import pytest

from handlers.__main__ import main

CONF = "# caf\xe9\r\n<Location /x>\r\n    PythonHandler a\r\n</Location>\r\n"


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    """Call the command with bytes on standard input; return status, output and errors."""

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        options = ("--scripts", str(tmp_path / "scripts"), "--mod-wsgi", "/mods/mod_wsgi.so")
        status = main(["convert", *options, *map(str, arguments)])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()

    return call


def test_text_goes_in_and_comes_out(run, tmp_path):
    status, out, err = run(stdin=CONF.encode("latin-1"))
    assert (status, err) == (0, "")
    assert out.startswith(b"# caf\xe9\r\n# mod_wsgi in place of mod_python")
    assert out.endswith(
        b"<Location /x>\r\n    SetEnv PythonHandler a\r\n"
        b"    SetEnv PythonHandler.location /x\r\n</Location>\r\n"
    )
    assert os.listdir(tmp_path / "scripts") == ["mod_python.wsgi"]
    status, again, _ = run(stdin=out)
    assert (status, again) == (0, out)


def test_files_are_read_in_their_order_as_one_configuration(run, tmp_path):
    (tmp_path / "a.conf").write_text("LoadModule python_module modules/mod_python.so\n")
    (tmp_path / "b.conf").write_text("PythonDebug On\n")
    _, out, _ = run(tmp_path / "a.conf", tmp_path / "b.conf")
    assert out.count(b"WSGIHandlerScript mod_python") == 1
    assert out.endswith(b"SetEnv PythonDebug On\n")


def test_htaccess_is_known_by_its_name(run, tmp_path):
    (tmp_path / ".htaccess").write_text("PythonHandler a\n")
    _, out, _ = run(tmp_path / ".htaccess")
    expected = f"SetEnv PythonHandler a\nSetEnv PythonHandler.directory {tmp_path}/\n"
    assert out.decode() == expected
    assert run("--htaccess", tmp_path, stdin=b"PythonHandler a\n")[1].decode() == expected


def test_what_cannot_be_carried_over_is_said_and_the_status_is_3(run):
    status, out, err = run(stdin=b"PythonConnectionHandler a\n")
    assert status == 3
    assert b"Require all denied" in out
    assert err.startswith("standard input:1: PythonConnectionHandler a: not carried over, closed: ")
    assert err.count("\n") == 1


def test_check_reports_and_writes_nothing(run, tmp_path):
    (tmp_path / "m.py").write_text("def handler(req):\n    req.main\n    apache.nothing\n")
    conf = f"PythonConnectionHandler a\n<Directory {tmp_path}>\nPythonHandler m\n</Directory>\n"
    status, out, err = run("--check", stdin=conf.encode())
    assert (status, err) == (3, "")
    lines = out.decode().splitlines()
    assert lines[0] == (
        "1 directives carry over, 1 do not; where 1 of these stand, the section is closed"
    )
    assert any(line.startswith(f"{tmp_path}/m.py:3: apache.nothing: ") for line in lines)
    assert not (tmp_path / "scripts").exists()
    status, out, _ = run("--check", "--json", stdin=conf.encode())
    report = json.loads(out)
    assert (status, report["carried"]) == (3, 1)
    assert report["not_carried"][0]["place"] == "standard input:1"


def test_json_holds_the_text(run):
    _, out, _ = run("--json", stdin=CONF.encode("latin-1"))
    assert "SetEnv PythonHandler a\r\n" in json.loads(out)["text"]


def test_secret_is_readable_by_few(run, tmp_path):
    run(stdin=b"PythonOption password x\n")
    path = tmp_path / "scripts" / "option-password"
    assert path.read_text() == "x\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_included_files_stand_in_place_of_their_line(run, tmp_path):
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "b.conf").write_text("PythonOption b 2")
    (tmp_path / "sites" / "a.conf").write_text("Include one\n")
    (tmp_path / "one").write_text("PythonOption a 1\n")
    text = b"<Location /x>\nIncludeOptional sites/*.conf\nIncludeOptional no/*\n</Location>\n"
    _, out, _ = run("--includes", "--server-root", tmp_path, stdin=text)
    assert out.decode().partition("<Location /x>\n")[2] == (
        "# IncludeOptional sites/*.conf\n# Include one\nSetEnv PythonOption.a 1\n"
        "# end of Include one\nSetEnv PythonOption.b 2\n# end of IncludeOptional sites/*.conf\n"
        "# IncludeOptional no/*\n# end of IncludeOptional no/*\n</Location>\n"
    )
    assert b"IncludeOptional sites/*.conf\n" in run(stdin=text)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Include nothing.conf\n", "nothing.conf: no such file; see --server-root"),
        ("Include self.conf\n", "self.conf is included by itself"),
        ("<Directory /a>\nPythonHandler x\n", "<Directory> is not closed"),
    ],
)
def test_text_that_is_no_configuration_is_one_sentence(run, tmp_path, text, said):
    (tmp_path / "self.conf").write_text("Include self.conf\n")
    status, out, err = run("--includes", "--server-root", tmp_path, stdin=text.encode())
    assert (status, out) == (1, b"")
    assert said in err and err.count("\n") == 1


def test_file_that_is_not_there_is_one_sentence(run):
    assert run("/no/such.conf")[::2] == (
        1,
        "modpython-handlers: /no/such.conf: No such file or directory\n",
    )
