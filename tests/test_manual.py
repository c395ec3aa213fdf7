"""The manual page says what --help says."""

import pathlib

from handlers.commands import line, manual

PAGE = pathlib.Path(__file__).parent.parent / "apache_conf" / "modpython-handlers.1"


def test_page_is_that_of_the_commands():
    """Made anew by: python -m handlers.commands.manual > apache_conf/modpython-handlers.1"""
    assert PAGE.read_text() == manual.text()


def test_every_command_and_status_is_in_it():
    text = PAGE.read_text().replace("\\-", "-")
    for command in ("cache purge", "lookup show", "sessions list", "setup", "convert", "check"):
        assert f".B {line.PROGRAM} {command}\n" in text
    for status in ("75", "130"):
        assert status in text
