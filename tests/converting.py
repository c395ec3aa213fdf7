"""Conversions of a text for mod_python, with what holds for every one of them."""

import re

from handlers.configuration.text import parse
from handlers.convert.draft import Conversion
from handlers.convert.loading import Load
from handlers.convert.rewrite import convert
from handlers.convert.scripts import Scripts

SCRIPTS = "/scripts"
LOAD_OF_MOD_WSGI = Load("/mods/mod_wsgi.so", "", "/mods")
LOAD = "LoadModule python_module modules/mod_python.so\n"


def converted(text, htaccess="", made=None) -> Conversion:
    """Convert one text, and check what holds for every conversion."""
    scripts = Scripts(SCRIPTS, "/environment")
    result = convert([parse(text)], scripts, LOAD_OF_MOD_WSGI, htaccess)
    (new,) = result.texts
    again = convert([parse(new)], Scripts(SCRIPTS, "/environment"), LOAD_OF_MOD_WSGI, htaccess)
    assert again.texts == [new]
    assert again.is_whole
    # nothing is left that Apache without mod_python refuses
    for line in parse(new).walk():
        assert not line.key.startswith("python") or _is_for_both(line), new
    if made is not None:
        made.update(scripts.texts)
        made.update(scripts.secrets)
    return result


def _is_for_both(line) -> bool:
    """Tell whether a line stands where mod_python is asked for, in a text that knows both."""
    while line is not None:
        if line.key == "ifmodule" and line.arguments == "mod_python.c":
            return True
        line = line.parent
    return False


def lines(text, htaccess="", made=None) -> list[str]:
    """Return the lines of the conversion, without the part that loads mod_wsgi."""
    (new,) = converted(text, htaccess, made).texts
    new = re.sub(r"(?s)# mod_wsgi in place.*?WSGIApplicationGroup %{SERVER}\n", "", new)
    return [line.strip() for line in new.splitlines()]


def layers(made) -> list:
    """Return the layers of the only script for phases before other content."""
    found = []

    class Front:
        allow_access = check_password = groups_for_user = None

        def __init__(self, layers, aliases):
            found.append((layers, aliases))

    for path, text in made.items():
        if "/front-" in path:
            exec(text[text.index("front = Front(") :], {"Front": Front})
    (one,) = found
    return one


def in_section(text, section='Directory "/srv"') -> list[str]:
    name = section.partition(" ")[0]
    return lines(f"<{section}>\n{text}\n</{name}>\n")[1:-1]
