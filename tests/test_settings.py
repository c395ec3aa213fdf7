"""Options as they are declared, and settings files with mistakes in them."""

import logging
import re

import pytest

from handlers import errors, kinds, options, settings
from handlers.image import encode, formats
from handlers.image.limits import Limits
from handlers.kinds import Words
from handlers.making import OWN_LIMITS
from handlers.options import OPTIONS
from tests.support import run_command

SECRET = "hush-hush"


@pytest.fixture
def read(tmp_path):
    def read_text(text, mode=0o600):
        path = tmp_path / "settings.ini"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        settings.read.cache_clear()
        return settings.read(str(path))

    return read_text


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_examples_and_defaults_are_values(option):
    assert settings.value({option.name: option.example}, option.name) is not None
    if not isinstance(option.default, Words):
        given = settings.value({option.name: option.default}, option.name)
        assert settings.value({}, option.name) == given
    else:
        assert settings.value({}, option.name, "asked") == "asked"
    assert not option.meaning.endswith(".")


def test_defaults_of_limits_are_those_of_the_declarations():
    declared = {name: settings.value({}, f"thumbnail.{name}") for name in OWN_LIMITS}
    assert declared == {name: getattr(Limits(), name) for name in OWN_LIMITS}
    assert set(encode.FORMATS) <= set(options.EXTENSIONS)
    assert set(options.FORMATS) == set(formats.KNOWN_FORMATS)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("thumbnail.animated", "Yes", True),
        ("thumbnail.animated", "1", True),
        ("thumbnail.animated", "true", True),
        ("lookup.encode_ids", "ON", True),
        ("mod_python.session.sync", "no", False),
        ("thumbnail.animated", "0", False),
        ("thumbnail.animated", "FALSE", False),
        ("thumbnail.pixels", "250M", 250_000_000),
        ("thumbnail.frame_pixels", "1.5M", 1_500_000),
        ("lookup.missing_limit", "10K", 10_000),
        ("thumbnail.memory", "52M", 52 << 20),
        ("cache.bytes", "20 GB", 20 << 30),
        ("cache.bytes", "0.5K", 512),
        ("cache.age", "0.5", 0.5),
        ("lookup.refresh", "0", 0),
        ("thumbnail.sizes", "200x200  50x50-crop", ("200x200", "50x50-crop")),
        ("images.url", "off", ""),
        ("thumbnail.formats", "jpeg tiff", ("JPEG", "TIFF")),
        ("mod_python.session.cookie_samesite", "strict", "Strict"),
        ("mod_python.session.cookie_secure", "AUTO", "auto"),
        ("mod_python.session.servers", "a:1, b:2", ("a:1", "b:2")),
    ],
)
def test_values_mean(name, text, value):
    assert settings.value({name: text}, name) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("thumbnail.scans", "many", "thumbnail.scans: 'many' is not a whole number"),
        ("thumbnail.scans", "1.5", "thumbnail.scans: '1.5' is not a whole number"),
        ("thumbnail.scans", "0", "thumbnail.scans: '0' is less than 1"),
        ("thumbnail.scans", "٣", "thumbnail.scans: '٣' is not a whole number"),
        ("thumbnail.pixels", "20MB", "thumbnail.pixels: '20MB' is not a whole number"),
        ("thumbnail.animated", "maybe", "thumbnail.animated: 'maybe' is neither on nor off"),
        ("cache.bytes", "20X", "cache.bytes: '20X' is not a number of bytes such as 500M or 20G"),
        ("cache.bytes", "-1", "cache.bytes: '-1' is not a number of bytes such as 500M or 20G"),
        ("cache.interval", "soon", "cache.interval: 'soon' is not a number of seconds"),
        ("cache.interval", "inf", "cache.interval: 'inf' is not a number of seconds from 0"),
        ("lookup.timeout", "0", "lookup.timeout: '0' is not a number of seconds above 0 to 86400"),
        ("thumbnail.sizes", "9x9 0x1", "thumbnail.sizes: '9x9 0x1' is not a list of sizes such as"),
        ("images.root", "srv", "images.root: 'srv' is not an absolute path"),
        ("lookup.table", "a b", "lookup.table: 'a b' is not the name of a table"),
        ("lookup.table", "a\nb", "lookup.table: what is given is not the name of a table"),
        ("thumbnail.url", "thumbs/", "thumbnail.url: 'thumbs/' is not the path of a URL such as"),
        ("thumbnail.url", "/a/../b", "thumbnail.url: '/a/../b' is not the path of a URL such as"),
        ("mod_python.session.sweep_interval", "abc", "sweep_interval: 'abc' is not a number of s"),
        ("mod_python.session.serializer", "xml", "'xml' is none of pickle, json, msgpack"),
        ("thumbnail.keys", SECRET, "thumbnail.keys: what is given is no list of keys"),
        ("images.root", f"mysql://u:{SECRET}@h/d", "images.root: what is given is not an absolute"),
        ("lookup.database", f"mysql://u:{SECRET}@h:x/d", "lookup.database: a host of the mysql U"),
    ],
)
def test_fault_names_the_option_and_what_was_given(name, text, says):
    with pytest.raises(ValueError) as caught:
        settings.value({name: text}, name)
    assert says in str(caught.value)
    assert str(caught.value).startswith(name)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[cache]\nbyte = 20G\n", "line 2: cache.byte is unknown: did you mean cache.bytes"),
        ("\n# x\n[cache]\n\nbytes = 1\nAge = x\n", "line 6: cache.age: 'x' is not a number of day"),
        ("[cache]\n  bytes = 1\n  byte = 2\n", "line 3: cache.byte is unknown"),
        ("[lookup]\nquery = SELECT\n  bite = 3\n\n  FROM x\nbite = 4\n", "line 6: lookup.bite is"),
        ("[lookup]\nroot = /x\n", "line 2: lookup.root is unknown: did you mean images.root"),
        ("[cache]\ncolour = 20G\n", "line 2: cache.colour is unknown"),
        ("[lokup]\n", "line 1: section [lokup] is unknown: did you mean [lookup]"),
        ("[Lookup]\n", "line 1: section [Lookup] is unknown: did you mean [lookup]"),
        ("[DEFAULT]\nbytes = 1\n", "line 1: section [DEFAULT] is unknown"),
        ("[mod_python.sessions]\n", "did you mean [mod_python.session]"),
        ("[handlers]\nsettings = /x\n", "line 1: options of [handlers] can only be PythonOptions"),
        ("[cache]\nbytes = 1\nbytes = 2\n", "line 3: an option for the second time"),
        ("[cache]\n[images]\n[cache]\n", "line 3: a section for the second time"),
        ("bytes = 1\n", "line 1: no [section] above it"),
        ("[lookup]\ndatabase: sqlite:////x\n", "line 2: neither [section] nor name = value"),
        (b"[cache]\nbytes = \xff\n", "line 2: not UTF-8"),
    ],
)
def test_fault_of_a_file_names_the_line(read, text, says):
    with pytest.raises(errors.Misconfigured) as caught:
        read(text)
    assert f"settings.ini, {says}" in str(caught.value) or says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_suggested_where_nothing_is_near(read):
    with pytest.raises(errors.Misconfigured, match=r"cache\.colour is unknown$"):
        read("[cache]\ncolour = 1\n")


@pytest.mark.parametrize(
    "text",
    [
        f"[lookup]\n{SECRET}\n",
        f"{SECRET}\n[lookup]\n",
        f"[lookup]\ndatabase = mysql://u:{SECRET}@h:x/d\n",
        f"[lookup]\ndatabase = mysql://u:\n{SECRET} = x@h/d\n",
        f"[lookup]\ndatabase = mysql://u:a\nhush = {SECRET}\n",
        f"[lookup]\nmysql://u:{SECRET}=@h/d\n",
        f"[lookup]\ntable = images\n  database = mysql://u:{SECRET}@h/d\n",
        f"[lookup]\ntable = images\ndatabase\n  {SECRET}\n",
        f"[mysql://u:{SECRET}@h/d]\n",
        f"[thumbnail]\nkeys = {SECRET}\n",
        f"[thumbnail]\nsizes = 9x9\n  {SECRET}\n",
        f"[thumbnail]\nformats = PNG\n  {SECRET}\n",
        f"[thumbnail]\nkeys = a-key-of-24-characters-.\n{SECRET}-0123456789 =\n",
        f"[lookup]\ndatabase = x\ndatabase = mysql://u:{SECRET}@h/d\n",
    ],
)
def test_no_message_shows_what_may_be_a_secret(read, text):
    with pytest.raises(ValueError) as caught:
        read(text)
    assert SECRET not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "[lookup]\ndatabase = mysql://u:p@h/d\n",
        "[mod_python.session]\ndatabase = mysql://u:p@h/d\n",
        "[thumbnail]\nkeys = a-key-of-24-characters-.\n",
    ],
)
def test_every_secret_that_everybody_can_read_is_a_warning(read, text, caplog):
    with caplog.at_level(logging.WARNING):
        read(text, mode=0o640)
        assert not caplog.records
        read(text, mode=0o644)
    (record,) = caplog.records
    assert re.search(r"holds a secret and everybody can read it: chmod 640 ", record.getMessage())


def test_file_without_a_secret_may_be_read_by_everybody(read, caplog):
    read("[lookup]\ndatabase = mysql://u@h/d\ntable = a\n", mode=0o644)
    assert not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("lookup", "stats"), ("cache", "stats"), ("sessions", "stats")]
)
def test_commands_say_the_same_and_exit_1(tmp_path, command):
    path = tmp_path / "settings.ini"
    path.write_text("[cache]\nbyte = 20G\n")
    done = run_command(path, *command)
    assert done.returncode == 1
    says = f"{path}, line 2: cache.byte is unknown: did you mean cache.bytes\n"
    assert done.stderr.endswith(says)
    assert done.stderr.count("\n") == 1


def test_long_values_are_cut():
    assert len(kinds.shown("x" * 1000)) < 70
