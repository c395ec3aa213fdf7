"""Options of the handlers: one name space ``section.key``, from two places.

A settings file (``[section]``, ``key = value``) holds what a child must know when it starts, above
all the database. ``PythonOption section.key value`` in Apache's configuration holds for the
requests of its Location, Directory or virtual host, and wins over the file.
:mod:`handlers.options` declares which options there are. A name that is not among them is an error,
so that a typing error is noticed.
"""

import configparser
import difflib
import functools
import logging
import os
import re
import stat
from collections import namedtuple
from collections.abc import Iterator, Mapping

from handlers import access, kinds
from handlers.errors import Misconfigured
from handlers.kinds import Words
from handlers.options import OPTIONS, unknown_sizes

log = logging.getLogger(__name__)

# what Apache's configuration alone can say
_OF_REQUESTS = frozenset({"handlers", "mod_python", "mod_python.form"})
_SECTIONS = frozenset(name.rpartition(".")[0] for name in OPTIONS) - _OF_REQUESTS
# PythonOptions with these names are ours alone; mod_python and others have more of the rest.
_OURS = frozenset({"thumbnail", "cache", "images", "gallery", "lookup"})
#: Frozen types with a field for each option of a section; None stands for a default in words.
_SECTION_TYPES = {
    section: namedtuple(
        section.capitalize(),
        [name.partition(".")[2] for name in OPTIONS if name.partition(".")[0] == section],
    )
    for section in _OURS
}
Section = tuple
# what a name looks like; anything else in its place may be a piece of a password
_NAME = re.compile(r"[A-Za-z_]{1,40}(?:\.[A-Za-z_]{1,40}){0,3}")
_SECTION_LINE = re.compile(r"\[(.+)\]")
_TOGETHER = "thumbnail.together"
_ALIKE = 0.6
_MUCH_ALIKE = 0.8

_default_path: str | None = None


class BadSettings(Misconfigured):
    """Raised for a settings file that cannot be read; its message holds nothing of the file."""


class Settings(Mapping):
    """The options that hold for a request, a child or a command; nothing changes them.

    As a mapping it has what was given, ``{"section.key": "text"}``. Its attributes are the
    values, with the declared defaults: ``settings.cache.bytes``. They raise Misconfigured for a
    value that makes no sense, and are worked out once for each configuration of a process.
    """

    def __init__(self, given: Mapping[str, str]):
        self._given = dict(given)

    def __getitem__(self, name: str) -> str:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    # compared by identity: what a process has read twice may have changed in between
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __len__(self) -> int:
        return len(self._given)

    @functools.cached_property
    def thumbnail(self) -> "Section":
        """The options ``thumbnail.*``."""
        return self._section("thumbnail")

    @functools.cached_property
    def cache(self) -> "Section":
        """The options ``cache.*``."""
        return self._section("cache")

    @functools.cached_property
    def images(self) -> "Section":
        """The options ``images.*``."""
        return self._section("images")

    @functools.cached_property
    def gallery(self) -> "Section":
        """The options ``gallery.*``."""
        return self._section("gallery")

    @functools.cached_property
    def lookup(self) -> "Section":
        """The options ``lookup.*``."""
        return self._section("lookup")

    def _section(self, section: str) -> "Section":
        section_of = _SECTION_TYPES[section]
        return section_of(*(value(self._given, f"{section}.{key}") for key in section_of._fields))


@functools.lru_cache(maxsize=64)
def read(path: str) -> Settings:
    """Return the options of the settings file *path*.

    ``handlers.settings`` is the path of the file itself. A file is read once per process: restart
    Apache after a change. One that holds a password or a key and can be read by everybody is read,
    with a warning in the log. Messages about the file name lines by their numbers, as any line may
    hold the password.

    :raises BadSettings: if the file is missing, unreadable or not of the form above.
    :raises Misconfigured: for a name that no option has, or a value that makes no sense.
    """
    text, mode = _text(path)
    options = of_text(text, path)
    if mode & stat.S_IROTH and holds_secret(options):
        log.warning("%s holds a secret and everybody can read it: chmod 640 %s", path, path)
    return options


def of_text(text: str, path: str) -> Settings:
    """Return the options of the *text* of a settings file that is, or will be, at *path*.

    :raises BadSettings: if the text is not of the form above.
    :raises Misconfigured: as :func:`read` does.
    """
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), default_section="DEFAULT of nothing"
    )
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise BadSettings(f"settings file {path}, {_what_is_wrong(error)}") from None
    options = {
        f"{section}.{key}": _path_without_quotes(text)
        for section in parser.sections()
        for key, text in parser.items(section)
    }
    fault = _first_fault(parser, options)
    if fault is not None:
        where, what = fault
        line = _lines(text).get(where)
        raise Misconfigured(f"{path}{f', line {line}' if line else ''}: {what}")
    return Settings({**options, "handlers.settings": path})


def lines_of(path: str) -> dict[str, int]:
    """Return the number of the line on which the settings file *path* sets each option.

    :raises BadSettings: if the file cannot be read.
    """
    return {f"{section}.{key}": n for (section, key), n in _lines(_text(path)[0]).items() if key}


def read_again(path: str) -> Settings:
    """Return what :func:`read` would return if the process had just been started."""
    return read.__wrapped__(path)


def use(path: str) -> None:
    """Make *path* the settings file of every request that names no other one."""
    global _default_path
    _default_path = path


def of_process() -> Settings:
    """Return the options of the file that :func:`use` has named.

    :raises BadSettings: if it has named none, or as :func:`read` does.
    """
    if _default_path is None:
        raise BadSettings("no settings file: name it by handlers.html.configure(path)")
    return read(_default_path)


def of(req) -> Settings:
    """Return the options that hold for a request: its PythonOptions over those of the file.

    ``PythonOption handlers.settings`` names another settings file than the child's own, so that
    virtual hosts can have different databases.

    :raises BadSettings: as :func:`read` does.
    :raises Misconfigured: for a PythonOption that does not exist, in a section of the package's.
    """
    given = tuple(req.get_options().items())
    path = file_of(dict(given))
    # the file as this process knows it: another object, should it be read again
    return _merged(read(path) if path else None, given)


@functools.lru_cache(maxsize=256)
def _merged(file: Settings | None, given: tuple[tuple[str, str], ...]) -> Settings:
    for name, _ in given:
        if name not in OPTIONS and name.partition(".")[0] in _OURS:
            raise Misconfigured(f"PythonOption {unknown(name)}")
    merged = Settings({**(file or {}), **dict(given)})
    if _TOGETHER in dict(given) and (fault := _fault_of_together(merged)):
        raise Misconfigured(f"PythonOption {fault}")
    return merged


def file_of(given: Mapping[str, str]) -> str | None:
    """Return the settings file of a request with the PythonOptions *given*, None if it has none."""
    return given.get("handlers.settings", _default_path)


def value(given: Mapping[str, str], name: str, default=None):
    """Return what the option *name* means: its value in *given*, or its declared default.

    :param default: what to return where the declared default is in words.
    :raises Misconfigured: for a value that makes no sense.
    """
    text = given.get(name)
    if text is None:
        text = OPTIONS[name].default
        if isinstance(text, Words):
            return default
    return _parsed(name, text)


def required(given: Mapping[str, str], name: str):
    """Return what the option *name* means, which has no default.

    :raises Misconfigured: if it is not set, or as :func:`value` does.
    """
    found = value(given, name) if given.get(name) else None
    if not found:
        raise Misconfigured(f"{name} is not set: give it in settings.ini or by PythonOption {name}")
    return found


def holds_secret(given: Mapping[str, str]) -> bool:
    """Tell whether one of the values holds what only the server may know."""
    return any(
        name in OPTIONS and OPTIONS[name].kind.is_secret(text) for name, text in given.items()
    )


def unknown(name: str) -> str:
    """Return what to say of *name*, which no option has."""
    near = _nearest(name)
    shown = name if _NAME.fullmatch(name) else "a name that no option has"
    return f"{shown} is unknown" + (f": did you mean {near}" if near else "")


def _text(path: str) -> tuple[str, int]:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise BadSettings(f"settings file {path}: {access.why_unreadable(path, error)}") from None
    try:
        return content.decode("utf-8-sig"), mode
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadSettings(f"settings file {path}, line {line}: not UTF-8") from None


def _path_without_quotes(text: str) -> str:
    """Return a path without the quotes around it, which keep the blanks at its end."""
    return text[1:-1] if text.startswith('"/') and text.endswith('"') else text


def _what_is_wrong(error: configparser.Error) -> str:
    """Say what the parser found, without the line that it quotes."""
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: a section for the second time"
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: an option for the second time"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: no [section] above it"
    number = getattr(error, "lineno", None) or error.errors[0][0]
    return f"line {number}: neither [section] nor name = value"


def _first_fault(
    parser: configparser.ConfigParser, options: Mapping[str, str]
) -> tuple[tuple[str, str], str] | None:
    """Return where the first fault of the options is, as (section, key), and what it is."""
    before = None
    for section in parser.sections():
        if section not in _SECTIONS:
            return (section, ""), _unknown_section(section)
        for key in parser[section]:
            name = f"{section}.{key}"
            if name not in OPTIONS:
                # what follows a secret may be the rest of it
                is_rest = before is not None and before.kind.is_secret is not kinds.never
                is_shown = _nearest(name) is not None or not is_rest
                what = unknown(name) if is_shown else f"an unknown option below {before.name}"
                return (section, key), what
            before = OPTIONS[name]
            try:
                value(options, name)
            except Misconfigured as error:
                return (section, key), str(error)
    # what the file does not say may be said by PythonOptions
    if _TOGETHER in options and not {"thumbnail.sizes", "thumbnail.keys"}.isdisjoint(options):
        fault = _fault_of_together(options)
        return fault and (tuple(_TOGETHER.split(".")), fault)
    return None


def _fault_of_together(given: Mapping[str, str]) -> str | None:
    names = (_TOGETHER, *(f"thumbnail.{key}" for key in ("sizes", "keys", "largest")))
    unlisted = unknown_sizes(*(value(given, name) for name in names))
    if not unlisted:
        return None
    return f"{_TOGETHER}: {unlisted[0]} is none of thumbnail.sizes, and it cannot be signed"


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Return the number of the line of each (section, key), and of each (section, "")."""
    found = {}
    section, key, indent = "", "", 0
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip()
        if not content or content[0] in "#;":
            continue
        own_indent = len(line) - len(line.lstrip())
        if key and own_indent > indent:
            # the value goes on
            continue
        indent, header = own_indent, _SECTION_LINE.match(content)
        if header:
            section, key = header[1], ""
        else:
            key = content.partition("=")[0].strip().lower()
        found[section, key] = number
    return found


def _unknown_section(name: str) -> str:
    if name in _OF_REQUESTS:
        return f"options of [{name}] can only be PythonOptions"
    shown = f"section [{name}]" if _NAME.fullmatch(name) else "a section"
    near = difflib.get_close_matches(name.lower(), _SECTIONS, 1, _ALIKE)
    return f"{shown} is unknown" + (f": did you mean [{near[0]}]" if near else "")


def _nearest(name: str) -> str | None:
    section, _, key = name.rpartition(".")
    keys = {
        option.removeprefix(f"{section}."): option
        for option in OPTIONS
        if option.rpartition(".")[0] == section
    }
    near = difflib.get_close_matches(key.lower(), keys, 1, _ALIKE)
    if near and difflib.SequenceMatcher(None, key.lower(), near[0]).ratio() >= _MUCH_ALIKE:
        return keys[near[0]]
    # the right key in a wrong section
    elsewhere = next((option for option in OPTIONS if option.endswith(f".{key}")), None)
    return elsewhere or (keys[near[0]] if near else None)


@functools.lru_cache(maxsize=512)
def _parsed(name: str, text: str):
    kind = OPTIONS[name].kind
    try:
        return kind.parse(text)
    except Misconfigured as error:
        raise type(error)(f"{name}: {error}") from None
    except ValueError as error:
        shown = "what is given" if kind.is_secret(text) else kinds.shown(text)
        raise Misconfigured(f"{name}: {shown} {error}") from None
