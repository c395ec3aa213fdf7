"""The fields of a form, as mod_python's util has them."""

import contextlib
from io import BytesIO


class Field:
    """A field whose value lies in a file: an upload.

    :ivar filename: what the client calls the file; never to be used as a path.
    :ivar file: an open binary file.
    :ivar value: all of the file, read into memory.
    :ivar type, type_options, disposition, disposition_options, headers: of the field's part.
    """

    filename = None

    def __init__(self, name, *args, **kwargs):
        self.name = name
        if args or kwargs:
            self._set(*args, **kwargs)

    def _set(self, file, ctype, type_options, disp, disp_options, headers=None):
        self.file = file
        self.type, self.type_options = ctype, type_options
        self.disposition, self.disposition_options = disp, disp_options
        self.filename = disp_options.get("filename", disp_options.get(b"filename"))
        self.headers = {} if headers is None else headers

    def __getattr__(self, name):
        if name != "value":
            raise AttributeError(name)
        if self.file is None:
            return None
        self.file.seek(0)
        value = self.file.read()
        if not isinstance(value, bytes):
            raise TypeError("the file of a field must be opened in binary mode")
        self.file.seek(0)
        return value

    def __repr__(self):
        return f"Field({self.name!r}, {self.value!r})"

    def __del__(self):
        file = getattr(self, "file", None)
        if file is not None:
            # what a callback has given may be closed by now, or fail to
            with contextlib.suppress(OSError, ValueError):
                file.close()


class StringField(bytes):
    """A field whose value is in memory: bytes in UTF-8, with the attributes of a field.

    :ivar value: what the field was made of: str from a query, bytes from a body.
    :ivar file: an open binary file with the bytes.
    """

    filename = None
    headers = {}  # noqa: RUF012 - what every field of a query has, as in mod_python
    type = ctype = "text/plain"
    type_options = {}  # noqa: RUF012
    disposition = None
    disposition_options = disp_options = None

    def __new__(cls, value):
        if isinstance(value, bytes):
            return bytes.__new__(cls, value)
        text = str(value)
        field = bytes.__new__(cls, text.encode())
        field.value = text
        return field

    def __getattr__(self, name):
        # made when asked for, so that a field holds its bytes once
        if name == "file":
            self.file = BytesIO(self)
            return self.file
        if name == "value":
            return bytes(self)
        raise AttributeError(name)

    def __repr__(self):
        return f"Field({self.name!r}, {self.value!r})"


class FieldList(list):
    """The fields of a form in their order, with :meth:`table` to find them by name."""

    _table = None

    def table(self) -> dict:
        """Return ``{name: [field, ...]}``; it is made again when the list has changed."""
        if self._table is None:
            self._table = {}
            for item in self:
                self._table.setdefault(item.name, []).append(item)
        return self._table


def _changing(name):
    change = getattr(list, name)

    def method(self, *args, **kw):
        self._table = None
        return change(self, *args, **kw)

    method.__name__ = name
    method.__doc__ = change.__doc__
    return method


for _name in (
    *("__delitem__", "__iadd__", "__imul__", "__setitem__", "append", "clear", "extend"),
    *("insert", "pop", "remove", "reverse", "sort"),
):
    setattr(FieldList, _name, _changing(_name))
