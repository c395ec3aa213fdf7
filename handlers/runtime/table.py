"""apache.table: Apache's ordered, case-insensitive table in which a key may occur more than once.

Keys and values are text that fits ISO-8859-1, as header fields are (RFC 9110 section 5.5). A value
with CR, LF or NUL in it is refused when it is stored, so no handler can be talked into sending a
header line of a client's making. Real mod_python lets such values through.
"""

_REFUSED = ("\r", "\n", "\0")


def header_text(value) -> str:
    """Return *value* as text that can be sent in a header field.

    :param value: str, or bytes in ISO-8859-1.
    :raises TypeError: if it is neither, or has a character outside ISO-8859-1.
    :raises ValueError: if it has a CR, LF or NUL.
    """
    if value.__class__ is str and value.isascii() and value.isprintable():
        return value
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif not isinstance(value, str):
        raise TypeError(f"not an ISO-8859-1 string: {value!r}")
    if not value.isascii():
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise TypeError(f"not an ISO-8859-1 string: {value!a}") from None
    for character in _REFUSED:
        if character in value:
            raise ValueError(f"a table takes no CR, LF or NUL: {value!a}")
    return value


class Table:
    """A mapping as mod_python's ``table``: order is kept, case of keys is kept but does not count.

    ``table[key]`` is a str, or a list of str where the key occurs more than once; ``get`` gives the
    first; ``add`` appends, assignment replaces all occurrences at the place of the first. ``del``
    of a key that is not there does nothing. Iteration gives a key once for each occurrence. Not
    safe for changes by several threads at once; a table belongs to one request.

    :param source: a mapping or a sequence of pairs to start from; unlike real mod_python's, a table
        given here keeps its repeated keys.
    """

    __slots__ = ("_rows",)
    __hash__ = None

    def __init__(self, source=(), /):
        self._rows = []
        if isinstance(source, Table):
            self._rows = list(source._rows)
        elif hasattr(source, "keys"):
            self.update(source)
        else:
            for number, pair in enumerate(source):
                try:
                    key, value = pair
                except TypeError:
                    raise TypeError(f"element #{number} is not a pair: {pair!r}") from None
                except ValueError:
                    raise ValueError(f"element #{number} is not of length 2: {pair!r}") from None
                self[_spelled(key)] = _spelled(value)

    @classmethod
    def trusted(cls, pairs):
        """Return a table of *pairs* as they are, unchecked: for what Apache itself has read."""
        table = cls()
        table._rows = [(key.lower(), key, value) for key, value in pairs]
        return table

    def __getitem__(self, key):
        lowered = header_text(key).lower()
        found = [row[2] for row in self._rows if row[0] == lowered]
        if not found:
            raise KeyError(key)
        return found[0] if len(found) == 1 else found

    def __setitem__(self, key, value):
        key = header_text(key)
        lowered = key.lower()
        row = (lowered, key, header_text(value))
        rows = self._rows
        for place, old in enumerate(rows):
            if old[0] == lowered:
                rest = [later for later in rows[place + 1 :] if later[0] != lowered]
                rows[place:] = [(lowered, old[1], row[2]), *rest]
                return
        rows.append(row)

    def __delitem__(self, key):
        lowered = header_text(key).lower()
        self._rows[:] = [row for row in self._rows if row[0] != lowered]

    def __contains__(self, key):
        lowered = header_text(key).lower()
        return any(row[0] == lowered for row in self._rows)

    def __len__(self):
        return len(self._rows)

    def __iter__(self):
        return self._walk(1)

    def __eq__(self, other):
        """Compare as dicts of what ``table[key]`` gives; keys compare with their case."""
        if isinstance(other, Table):
            return self._as_dict() == other._as_dict()
        if isinstance(other, dict):
            return self._as_dict() == other
        return NotImplemented

    def __repr__(self):
        return "{" + ", ".join(f"{key!r}: {value!r}" for _, key, value in self._rows) + "}"

    def add(self, key, value):
        """Append a row, whether or not the key is there already."""
        key = header_text(key)
        self._rows.append((key.lower(), key, header_text(value)))

    def get(self, key, default=None):
        """Return the first value of *key*, or *default*."""
        lowered = header_text(key).lower()
        for row in self._rows:
            if row[0] == lowered:
                return row[2]
        return default

    def setdefault(self, key, default=""):
        """Return the first value of *key*, which is set to *default* if it has none."""
        found = self.get(key)
        if found is None:
            self[key] = default
            found = header_text(default)
        return found

    def popitem(self):
        """Remove the first row and return its (key, value), with all other rows of that key.

        :raises KeyError: if the table is empty.
        """
        if not self._rows:
            raise KeyError("popitem(): table is empty")
        lowered, key, value = self._rows[0]
        self._rows[:] = [row for row in self._rows if row[0] != lowered]
        return key, value

    def update(self, source, /):
        """Set every key of the mapping *source*; repeated keys of a table are kept repeated.

        Here, and where a table is made, what is no text is taken as ``str`` gives it.
        """
        if isinstance(source, Table):
            replaced = {row[0] for row in source._rows}
            self._rows[:] = [row for row in self._rows if row[0] not in replaced]
            self._rows.extend(source._rows)
            return
        for key in source.keys():  # noqa: SIM118 - a mapping may iterate over something else
            self[_spelled(key)] = _spelled(source[key])

    def clear(self):
        """Remove all rows."""
        self._rows.clear()

    def copy(self):
        """Return a new table with the same rows."""
        return Table(self)

    def has_key(self, key):
        """Return whether *key* is there, as 1 or 0."""
        return int(key in self)

    def keys(self):
        """Return the keys, one for each row."""
        return [row[1] for row in self._rows]

    def values(self):
        """Return the values of all rows."""
        return [row[2] for row in self._rows]

    def items(self):
        """Return (key, value) of all rows."""
        return [row[1:] for row in self._rows]

    def iterkeys(self):
        """Iterate over the keys."""
        return self._walk(1)

    def itervalues(self):
        """Iterate over the values."""
        return self._walk(2)

    def iteritems(self):
        """Iterate over (key, value) of all rows."""
        return self._walk(slice(1, 3))

    def _walk(self, part):
        return _walk(self._rows, len(self._rows), part)

    def _as_dict(self):
        return {key: self[key] for key in self.keys()}


def _spelled(value):
    return value if isinstance(value, (str, bytes)) else str(value)


def _walk(rows, size, part):
    place = 0
    while len(rows) == size:
        if place == size:
            return
        yield rows[place][part]
        place += 1
    raise RuntimeError("table changed size during iteration")
