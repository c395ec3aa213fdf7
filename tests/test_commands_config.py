"""``modpython-handlers config``: what is in force, and where it was set."""

import json

import pytest

from handlers import __main__
from handlers.options import OPTIONS

INI = """\
[lookup]
database = mysql://site:secret@db/site
# a comment
table = photo
[thumbnail]
keys = a-key-of-24-characters-.
"""


@pytest.fixture
def config(tmp_path, capsys):
    (tmp_path / "settings.ini").write_text(INI)
    (tmp_path / "settings.ini").chmod(0o640)
    apache = tmp_path / "apache2"
    (apache / "conf-available").mkdir(parents=True)
    (apache / "apache2.conf").write_text(
        "Define CACHE /srv/cache\n"
        "<Directory /srv/www>\n"
        '  SetEnv PythonOption.thumbnail.cache "${CACHE}"\n'
        "  PythonOption thumbnail.keys another-key-of-24-chars\n"
        "  PythonOption their.own option\n"
        "</Directory>\n"
    )

    def run(*arguments):
        names = ["--settings", str(tmp_path / "settings.ini"), "--apache", str(apache)]
        assert __main__.main(["config", *names, *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_every_option_is_listed_with_its_place(config, tmp_path):
    rows = json.loads(config("--json"))
    assert {row["option"] for row in rows} == set(OPTIONS)
    found = {row["option"]: (row["value"], row["from"]) for row in rows}
    ini, conf = tmp_path / "settings.ini", tmp_path / "apache2" / "apache2.conf"
    assert found["lookup.table"] == ("photo", f"{ini}:4")
    assert found["lookup.timeout"] == ("2", "default")
    where = f"PythonOption {conf}:3 <directory /srv/www>"
    assert found["thumbnail.cache"] == ("/srv/cache", where)


def test_secrets_are_hidden_wherever_they_stand(config):
    text = config()
    assert "site:secret" not in text and "key-of" not in text
    assert text.count("= (hidden)") == 3
    assert "their.own" not in text


def test_only_what_is_set_is_listed_on_demand(config):
    rows = json.loads(config("--set", "--json"))
    assert [row["option"] for row in rows] == [
        "thumbnail.cache",
        "thumbnail.keys",
        "thumbnail.keys",
        "lookup.database",
        "lookup.table",
    ]


def test_directory_that_is_no_apache_is_refused(tmp_path, capsys):
    (tmp_path / "settings.ini").write_text("")
    names = ["--settings", str(tmp_path / "settings.ini"), "--apache", str(tmp_path / "none")]
    assert __main__.main(["config", *names]) == 1
    assert "no Apache" in capsys.readouterr().err
