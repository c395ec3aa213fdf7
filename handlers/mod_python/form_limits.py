"""What a form may take of a child: its options, and the budget that a body is read against.

PythonOptions (``SetEnv PythonOption.mod_python.form.fields 5000`` on mod_wsgi):

=========================== ======= ================================================================
name                        default meaning
=========================== ======= ================================================================
``mod_python.form.memory``  512K    bytes of names and text of all fields; files are not counted
``mod_python.form.fields``  1000    fields of query and body, uploads among them
``mod_python.form.uploads`` 100     uploaded files, which are open all at once
``mod_python.form.header``  8K      bytes of the header of one part of a multipart body
=========================== ======= ================================================================
"""

import re
from dataclasses import dataclass

_PREFIX = "mod_python.form."
_SIZE = re.compile(r"([0-9]{1,12})([KMG]?)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# What browsers write as the header of a part stays below this many bytes.
_FREE_HEADER = 1000
# A line of a header, kept in a table, takes about this much more than its bytes.
_LINE_OVERHEAD = 100

#: default of ``mod_python.form.memory``, bytes
MAX_MEMORY = 512 << 10
#: default of ``mod_python.form.fields``
MAX_FIELDS = 1000
#: default of ``mod_python.form.uploads``
MAX_UPLOADS = 100
#: default of ``mod_python.form.header``, bytes
MAX_HEADER = 8 << 10
#: lines of the header of a part
MAX_HEADER_LINES = 50


class BadFormOption(ValueError):
    """Raised for a ``mod_python.form.*`` option whose value is no number."""


class Malformed(ValueError):
    """Raised for a body that is not what its type says: status 400."""


class TooMuch(ValueError):
    """Raised for a form beyond a limit, whose option the text names: status 413."""


@dataclass
class Budget:
    """What one form may still take; each ``take_*`` raises :class:`TooMuch` beyond it.

    :ivar memory: bytes of names and text.
    :ivar fields: fields, whatever they hold.
    :ivar uploads: files.
    :ivar header: bytes of the header of each part.
    """

    memory: int = MAX_MEMORY
    fields: int = MAX_FIELDS
    uploads: int = MAX_UPLOADS
    header: int = MAX_HEADER

    @classmethod
    def of_request(cls, req, **defaults: int) -> "Budget":
        """Return the whole budget that the request's PythonOptions, over *defaults*, give a form.

        :raises BadFormOption: for an option that is no number.
        """
        given = dict(defaults)
        options = req.get_options()
        for name in cls.__dataclass_fields__:
            text = options.get(_PREFIX + name)
            if text is not None:
                given[name] = _number(name, text)
        return cls(**given)

    def take_memory(self, size: int) -> None:
        """Count *size* bytes of names or text."""
        self.memory -= size
        if self.memory < 0:
            raise TooMuch(f"more text in the fields than {_PREFIX}memory allows")

    def take_fields(self, count: int = 1) -> None:
        """Count *count* fields."""
        self.fields -= count
        if self.fields < 0:
            raise TooMuch(f"more fields than {_PREFIX}fields allows")

    def take_upload(self) -> None:
        """Count an upload."""
        self.uploads -= 1
        if self.uploads < 0:
            raise TooMuch(f"more files than {_PREFIX}uploads allows")

    def check_urlencoded(self, length: int) -> None:
        """Refuse an urlencoded body of *length* bytes that cannot fit, before it is read.

        Three bytes of it, ``%41``, are at least one of text; each field has two that are none.
        """
        if length > 3 * self.memory + 2 * self.fields:
            self.take_memory(length)

    def take_header(self, lines: list[bytes]) -> None:
        """Count what the header of a part takes beyond that of a browser."""
        size = sum(map(len, lines)) + _LINE_OVERHEAD * len(lines)
        if size > _FREE_HEADER:
            self.take_memory(size - _FREE_HEADER)


def _number(name: str, text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise BadFormOption(f"{_PREFIX}{name} must be a number such as 5000, 64K or 4M: {text!r}")
    return int(found[1]) * _UNITS[found[2].upper()]
