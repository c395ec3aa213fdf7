"""What a form may take of a child: its options, and the budget that a body is read against.

The options are the PythonOptions ``mod_python.form.*``, see :mod:`handlers.options`.
"""

from dataclasses import dataclass
from functools import lru_cache

from handlers import settings

_PREFIX = "mod_python.form."
# What browsers write as the header of a part stays below this many bytes.
_FREE_HEADER = 1000
# A line of a header, kept in a table, takes about this much more than its bytes.
_LINE_OVERHEAD = 100

#: default of ``mod_python.form.memory``, bytes
MAX_MEMORY = settings.value({}, _PREFIX + "memory")
#: default of ``mod_python.form.fields``
MAX_FIELDS = settings.value({}, _PREFIX + "fields")
#: default of ``mod_python.form.uploads``
MAX_UPLOADS = settings.value({}, _PREFIX + "uploads")
#: default of ``mod_python.form.header``, bytes
MAX_HEADER = settings.value({}, _PREFIX + "header")
#: lines of the header of a part
MAX_HEADER_LINES = 50


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

        :raises handlers.errors.Misconfigured: for an option that is no number.
        """
        # real mod_python has the table only
        pairs = getattr(req, "option_pairs", None)
        given = pairs() if pairs else tuple(req.get_options().items())
        return cls(**defaults | _limits(given)) if given else cls(**defaults)

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


@lru_cache(maxsize=64)
def _limits(pairs: tuple) -> dict[str, int]:
    """Return those limits that the PythonOptions *pairs* set; callers must not change the dict."""
    options = {name.lower(): value for name, value in pairs}
    return {
        name: settings.value(options, _PREFIX + name)
        for name in Budget.__dataclass_fields__
        if _PREFIX + name in options
    }
