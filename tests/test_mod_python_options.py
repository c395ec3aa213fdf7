import os

import pytest

from handlers.runtime import options
from handlers.runtime.options import configuration, debug, get_config, get_options, of_server

ENVIRON = {
    "PythonHandler": "a",
    "PythonOption.thumbnail.sizes": "200x200 400x400",
    "PythonOption.removed": "",
    "PythonOption.Case": "x",
    "HTTP_PYTHONOPTION_EVIL": "1",
    "wsgi.errors": object(),
}


def test_options_come_from_the_environment_and_empty_ones_are_removed():
    found = get_options(ENVIRON)
    assert found.items() == [("thumbnail.sizes", "200x200 400x400"), ("Case", "x")]
    assert found["CASE"] == "x"


def test_config_has_what_is_set():
    assert len(get_config(ENVIRON)) == 0
    config = get_config({"PythonPath": "['/x']", "PythonDebug": "On"})
    assert config.items() == [("PythonDebug", "1"), ("PythonPath", "['/x']")]


def test_debug_is_off_unless_it_is_on():
    assert debug({"PythonDebug": "On"})
    for value in ("", "Off", "off", "0"):
        assert not debug({"PythonDebug": value})
    assert not debug({})


def test_option_may_lie_in_a_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text("one\ntwo\n")
    environ = {"PythonOptionFile.key": str(path), "PythonOption.other": "x"}
    assert dict(get_options(environ).items()) == {"key": "one", "other": "x"}
    path.write_text("three")
    os.utime(path, (1, 1))
    assert get_options(environ)["key"] == "three"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        get_options(environ)


def test_kind_of_authentication_is_no_option_of_a_handler():
    environ = {
        "PythonOption.mod_python.auth_type": "Basic",
        "PythonOption.mod_python.auth_name": "x",
    }
    assert len(get_options(environ)) == 0


def test_server_has_options_of_its_own_where_they_are_told():
    environ = {
        "PythonOption.a": "section",
        "PythonOption.b": "section",
        "PythonServer.PythonOption.a": "server",
        "PythonServer.PythonDebug": "Off",
        "PythonDebug": "On",
    }
    assert get_options(of_server(environ)).items() == [("a", "server")]
    assert get_config(of_server(environ)).items() == []
    assert get_options(of_server({"PythonOption.a": "1"})).items() == [("a", "1")]
    assert configuration(environ).refused == []


def test_clients_cannot_fill_the_memory_with_names():
    for number in range(1000):
        environ = {"PythonHandler": "a", f"HTTP_X_{number}": "1"}
        assert configuration(environ) is configuration({"PythonHandler": "a"})
    assert len(options._picking) <= 128
