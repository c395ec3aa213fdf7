"""Queries, urlencoded bodies and the parameters of header fields, taken apart."""

import re
from urllib.parse import unquote_plus, unquote_to_bytes

# a quoted string may hold semicolons; browsers write %22 for a quote, older ones \"
_PARAMETER = re.compile(rb';\s*([^=;\s]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*)))?')


def text(value: bytes) -> str:
    """Return *value* decoded as UTF-8, or as ISO-8859-1 if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def parse_qsl(qs, keep_blank_values=0, strict_parsing=0):
    """Return the pairs of a query, str for str and bytes for bytes, in their order.

    Pairs end at ``&`` or ``;``. Text that is not UTF-8 is taken for ISO-8859-1.

    :param keep_blank_values: keep pairs with an empty value, and names without a value.
    :param strict_parsing: taken for mod_python's sake; nothing is too malformed for it.
    """
    if isinstance(qs, bytes):
        split = re.split(b"[&;]", qs)
        equals, decode = b"=", _unquote_bytes
    elif isinstance(qs, str):
        split = re.split("[&;]", qs)
        equals, decode = "=", _unquote
    else:
        raise TypeError(f"a query is str or bytes, not {type(qs).__name__}")
    pairs = (pair.partition(equals) for pair in split if pair)
    return [(decode(name), decode(value)) for name, _, value in pairs if value or keep_blank_values]


def parse_qs(qs, keep_blank_values=0, strict_parsing=0):
    """Return a query as a dict of lists; see :func:`parse_qsl`."""
    found = {}
    for name, value in parse_qsl(qs, keep_blank_values):
        found.setdefault(name, []).append(value)
    return found


def parse_header(line: bytes) -> tuple[bytes, dict[bytes, str]]:
    """Return the value of a header field like Content-Type, and its parameters.

    Value and names are bytes in lower case, the parameters' values str.
    """
    if not isinstance(line, bytes):
        raise TypeError("parse_header() only accepts bytes")
    value, semicolon, rest = line.partition(b";")
    parameters = {}
    for name, quoted, plain in _PARAMETER.findall(semicolon + rest):
        given = quoted.replace(b'\\"', b'"') if quoted else plain.strip()
        parameters[name.lower()] = text(given)
    return value.strip().lower(), parameters


def _unquote(value: str) -> str:
    if "%" not in value:
        return value.replace("+", " ")
    try:
        return unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        return unquote_plus(value, encoding="latin-1")


def _unquote_bytes(value: bytes) -> bytes:
    return unquote_to_bytes(value.replace(b"+", b" "))
