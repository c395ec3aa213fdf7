"""What a command found or did, and how it is printed: as text, or as JSON with ``--json``."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

#: Exit status of a command that another process stands in the way of: EX_TEMPFAIL of sysexits.h.
BUSY = 75


class Failed(Exception):
    """Raised with the one sentence that tells the user why a command cannot do its work."""


class Result(NamedTuple):
    """What a command has to say."""

    #: A dict for JSON; or an iterator of dicts or strings, which are printed as they come.
    values: dict[str, Any] | Iterator
    #: Turns the dict, or each item, into the text that is printed without ``--json``.
    text: Callable[[Any], str]
    #: The exit status.
    status: int = 0


def show(result: Result, as_json: bool) -> int:
    """Print *result* on standard output; return its exit status.

    In JSON a dict is one line, and a listing is an array with one item a line.
    """
    if isinstance(result.values, dict):
        text = json.dumps(result.values) if as_json else result.text(result.values)
        if text:
            print(text)
    elif as_json:
        separator = "["
        for item in result.values:
            print(separator, json.dumps(item), sep="", end="")
            separator = ",\n "
        print("[]" if separator == "[" else "]")
    else:
        for item in result.values:
            print(result.text(item))
    return result.status
