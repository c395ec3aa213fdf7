from handlers.runtime.options import debug, get_config, get_options

ENVIRON = {
    "PythonHandler": "a",
    "PythonOption.thumbnail.sizes": "200x200 400x400",
    "PythonOption.removed": "",
    "PythonOption.Case": "x",
    "HTTP_PYTHONOPTION_EVIL": "1",
    "wsgi.errors": object(),
}


def test_options_come_from_the_environment_and_empty_ones_are_removed():
    options = get_options(ENVIRON)
    assert options.items() == [("thumbnail.sizes", "200x200 400x400"), ("Case", "x")]
    assert options["CASE"] == "x"


def test_config_has_what_is_set():
    assert len(get_config(ENVIRON)) == 0
    config = get_config({"PythonPath": "['/x']", "PythonDebug": "On"})
    assert config.items() == [("PythonDebug", "1"), ("PythonPath", "['/x']")]


def test_debug_is_off_unless_it_is_on():
    assert debug({"PythonDebug": "On"})
    for value in ("", "Off", "off", "0"):
        assert not debug({"PythonDebug": value})
    assert not debug({})
