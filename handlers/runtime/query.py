"""Queries, urlencoded bodies and the parameters of header fields, taken apart."""

import re
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

from .form_limits import Budget

# a quoted string may hold semicolons; browsers write %22 for a quote, older ones \"
_PARAMETER = re.compile(rb';\s*([^=;\s]+)\s*(?:=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^;]*)))?')
_SEPARATOR = re.compile(b"[&;]")
# A run at a time: one object for each escape would be thirty times the body.
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")
# An escape at the end of a block that goes on in the next one.
_CUT_OFF = re.compile(rb"%[0-9A-Fa-f]?\Z")


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
    :param strict_parsing: ignored, as nothing counts as malformed; mod_python has it.
    """
    if isinstance(qs, str):
        split = qs.replace(";", "&").split("&")
        if "%" not in qs:
            return _plain_pairs(split, keep_blank_values)
        equals, decode = "=", _unquote
    elif isinstance(qs, bytes):
        split = qs.replace(b";", b"&").split(b"&")
        equals, decode = b"=", _unquote_bytes
    else:
        raise TypeError(f"a query is str or bytes, not {type(qs).__name__}")
    pairs = (pair.partition(equals) for pair in split if pair)
    return [(decode(name), decode(value)) for name, _, value in pairs if value or keep_blank_values]


def _plain_pairs(split, keep_blank_values):
    """Return the pairs of a query without an escape."""
    pairs = []
    for pair in split:
        name, _, value = pair.replace("+", " ").partition("=")
        if value or (keep_blank_values and pair):
            pairs.append((name, value))
    return pairs


def parse_qs(qs, keep_blank_values=0, strict_parsing=0):
    """Return a query as a dict of lists; see :func:`parse_qsl`."""
    found = {}
    for name, value in parse_qsl(qs, keep_blank_values):
        found.setdefault(name, []).append(value)
    return found


def read_pairs(
    blocks: Iterable[bytes], budget: Budget, keep_blank_values=0
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs of an urlencoded body that comes in *blocks*, as :func:`parse_qsl` does.

    The time is proportional to the body, and nothing is kept but the pair at hand.

    :raises TooMuch: beyond the *budget*; each separator counts as a field, pair or not.
    """
    pair = _Pair(budget)
    for block in blocks:
        budget.take_fields(block.count(b"&") + block.count(b";"))
        first, *others = _SEPARATOR.split(block)
        pair.add(first)
        for piece in others:
            yield from pair.end(keep_blank_values)
            pair = _Pair(budget)
            pair.add(piece)
    budget.take_fields()
    yield from pair.end(keep_blank_values)


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


class _Pair:
    """A name and a value that come in pieces, decoded as they come."""

    def __init__(self, budget):
        self._budget = budget
        self._name = bytearray()
        self._value = bytearray()
        self._in_value = False
        self._cut_off = b""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if not self._in_value and b"=" in piece:
            name, _, piece = piece.partition(b"=")
            self._decode(name, self._name)
            self._finish(self._name)
            self._in_value = True
        self._decode(piece, self._value if self._in_value else self._name)

    def end(self, keep_blank_values) -> Iterator[tuple[bytes, bytes]]:
        """Yield the pair, unless it is empty or its value is and *keep_blank_values* is not set."""
        self._finish(self._value if self._in_value else self._name)
        if self._value or (keep_blank_values and (self._name or self._in_value)):
            value = bytes(self._value)
            # before the caller makes a field of it, so that there are never three copies
            self._value.clear()
            yield bytes(self._name), value

    def _decode(self, piece, target):
        if self._cut_off:
            piece, self._cut_off = self._cut_off + piece, b""
        found = _CUT_OFF.search(piece, max(0, len(piece) - 2))
        if found:
            piece, self._cut_off = piece[: found.start()], found[0]
        decoded = _unquote_bytes(piece)
        self._budget.take_memory(len(decoded))
        target += decoded

    def _finish(self, target):
        self._budget.take_memory(len(self._cut_off))
        target += self._cut_off
        self._cut_off = b""


def _unquote(value: str) -> str:
    if "%" not in value:
        return value.replace("+", " ")
    try:
        return unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        return unquote_plus(value, encoding="latin-1")


def _unquote_bytes(value: bytes) -> bytes:
    return _ESCAPES.sub(_unescape, value.replace(b"+", b" "))


def _unescape(run: re.Match) -> bytes:
    return unhexlify(run[0].replace(b"%", b""))
