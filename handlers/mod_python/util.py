"""Forms and redirects: ``from mod_python import util``, with mod_python's names and signatures.

Where a value comes from decides its type, as in mod_python under Python 3: fields of the query
have str names and str values, those of an urlencoded body have bytes for both, and those of a
multipart body str names and bytes values. A field itself is bytes in every case.

What works in another way: the query's names and values are never mixed up; names and file names
that are UTF-8 are read as such, and may have a semicolon in them; bytes that are not UTF-8 are no
error; a form is asked for ``"name"`` or ``b"name"``, whichever the client's body gives;
:func:`apply_fs_data` passes on the fields of an urlencoded body, too, as text; and a malformed body
is answered with 400, one beyond the limits of :mod:`.form_limits` with 413.
"""

import inspect
import types
from html import escape

from handlers.errors import Misconfigured
from handlers.runtime import form_limits, guarded, multipart
from handlers.runtime.constants import (
    APLOG_ERR,
    APLOG_INFO,
    DONE,
    HTTP_BAD_REQUEST,
    HTTP_INSUFFICIENT_STORAGE,
    HTTP_INTERNAL_SERVER_ERROR,
    HTTP_LENGTH_REQUIRED,
    HTTP_MOVED_PERMANENTLY,
    HTTP_MOVED_TEMPORARILY,
    HTTP_NOT_IMPLEMENTED,
    HTTP_REQUEST_ENTITY_TOO_LARGE,
)
from handlers.runtime.fields import Field, FieldList, StringField
from handlers.runtime.query import parse_header, parse_qs, parse_qsl, read_pairs
from handlers.runtime.query import text as text_of

try:
    # on real mod_python, where this module stands in for mod_python's own
    from _apache import SERVER_RETURN
except ImportError:
    from handlers.runtime.dispatch import SERVER_RETURN

__all__ = [
    "Field",
    "FieldList",
    "FieldStorage",
    "StringField",
    "apply_fs_data",
    "parse_header",
    "parse_qs",
    "parse_qsl",
    "readBlockSize",
    "redirect",
]

#: The longest piece of a line that is read at once, in bytes; the name and value are mod_python's.
readBlockSize = 65368
MAX_FIELDS = form_limits.MAX_FIELDS
MAX_MEMORY = form_limits.MAX_MEMORY

# bytes of an urlencoded body that are decoded at once
_BLOCK = 8192
_URLENCODED = b"application/x-www-form-urlencoded"


class FieldStorage:
    """The fields of the query and, for POST, of the body, as a mapping of fields by name.

    ``form[name]`` is one field, or a list of them if the name occurs more than once. ``list`` has
    all of them in their order.

    :param keep_blank_values: keep urlencoded fields with an empty value.
    :param strict_parsing: ignored; mod_python has it.
    :param file_callback: is given the name of an uploaded file and returns an open binary file for
        it; without it, uploads go to temporary files that are closed at the end of the request.
    :param field_callback: returns an open binary file for the text of a multipart field.
    :raises SERVER_RETURN: 411 for a body without Content-Length, 501 for one of another type, 400
        for one that cannot be read, 413 beyond the limits of :mod:`.form_limits`, 507 if the disk
        takes no more of an upload, 500 for a limit that is no number. 400, 413, 500 and 507 are a
        line in the error log.
    """

    def __init__(
        self, req, keep_blank_values=0, strict_parsing=0, file_callback=None, field_callback=None
    ):
        self.list = FieldList()
        try:
            query = guarded.text(req, "args")
            if not query and req.method != "POST":
                return
            budget = form_limits.Budget.of_request(req, memory=MAX_MEMORY, fields=MAX_FIELDS)
            if query:
                self._add_query(query, keep_blank_values, budget)
            if req.method == "POST":
                self._read_body(req, keep_blank_values, file_callback, field_callback, budget)
        except (form_limits.Malformed, guarded.Undecodable, guarded.BodyUnreadable) as error:
            raise _refused(req, HTTP_BAD_REQUEST, error) from error
        except form_limits.TooMuch as error:
            raise _refused(req, HTTP_REQUEST_ENTITY_TOO_LARGE, error) from error
        except multipart.NotStored as error:
            raise _refused(req, HTTP_INSUFFICIENT_STORAGE, error, APLOG_ERR) from error
        except Misconfigured as error:
            raise _refused(req, HTTP_INTERNAL_SERVER_ERROR, error, APLOG_ERR) from error

    def _add_query(self, query, keep_blank_values, budget):
        budget.take_fields(1 + query.count("&") + query.count(";"))
        budget.take_memory(len(query))
        fields = []
        for name, value in parse_qsl(query, keep_blank_values):
            field = StringField(value)
            field.name = name
            fields.append(field)
        self.list.extend(fields)

    def _read_body(self, req, keep_blank_values, file_callback, field_callback, budget):
        length = guarded.length_of(guarded.header(req, "Content-Length", ""))
        if length is None:
            raise SERVER_RETURN(HTTP_LENGTH_REQUIRED)
        content_type = guarded.header(req, "Content-Type")
        content_type = (
            _URLENCODED if content_type is None else content_type.encode("latin-1", "replace")
        )
        kind = content_type.lower()
        if kind.startswith(_URLENCODED):
            # three bytes of body are one byte of text at least
            if length > 3 * budget.memory + 3 * budget.fields:
                raise form_limits.TooMuch(
                    "more text in the body than mod_python.form.memory allows"
                )
            for name, value in read_pairs(_blocks(req), budget, keep_blank_values):
                self.add_field(name, value)
        elif kind.startswith(b"multipart/"):
            self.list.extend(
                multipart.read_fields(req, content_type, budget, file_callback, field_callback)
            )
        else:
            raise SERVER_RETURN(HTTP_NOT_IMPLEMENTED)

    def parse_qsl_safely(self, query_string, keep_blank_values):
        """Return what :func:`parse_qsl` does."""
        return parse_qsl(query_string, keep_blank_values)

    def add_field(self, key, value):
        """Append a field, whether or not the name is there already."""
        item = StringField(value)
        item.name = key
        self.list.append(item)

    def read_to_boundary(self, req, boundary, file):
        """Copy lines of the body to *file*, if it is not None, until one matches *boundary*.

        The CR LF before it is left out. Forms are not read by this any more.

        :param boundary: a compiled pattern of bytes, whose first group is found in the last one.
        :return: whether it was the last boundary; the end of the body counts as it.
        """
        held = b""
        while line := req.readline(readBlockSize):
            if found := boundary.match(line):
                return found[1] is not None
            text = held + line
            end = len(text) - (2 if text.endswith(b"\r\n") else text.endswith(b"\r"))
            held = text[end:]
            if file is not None:
                file.write(text[:end])
        if file is not None:
            file.write(held)
        return True

    def clear(self):
        """Forget all fields."""
        self.list = FieldList()

    def get(self, key, default=None):
        """Return what ``form[key]`` does, or *default*."""
        found = self._found(key)
        if not found:
            return default
        return found[0] if len(found) == 1 else found

    def getfirst(self, key, default=None):
        """Return the first field of that name, or *default*."""
        found = self._found(key)
        return found[0] if found else default

    def getlist(self, key):
        """Return all fields of that name."""
        return self._found(key)

    def has_key(self, key):
        """Return whether there is a field of that name."""
        return bool(self._found(key))

    __contains__ = has_key

    def items(self):
        """Return (name, field) of all fields in their order."""
        return [(item.name, item) for item in self.list]

    def keys(self):
        """Return each name once."""
        return list(self.list.table())

    def __iter__(self):
        return iter(self.keys())

    def __len__(self):
        return len(self.list.table())

    def __getitem__(self, key):
        found = self._found(key)
        if not found:
            raise KeyError(key)
        return found[0] if len(found) == 1 else found

    def __setitem__(self, key, value):
        if key in self:
            del self[key]
        self.add_field(key, value)

    def __delitem__(self, key):
        gone = set(map(id, self._found(key)))
        if not gone:
            raise KeyError(key)
        self.list[:] = [item for item in self.list if id(item) not in gone]

    def __repr__(self):
        return repr(self.list.table())

    def _found(self, key):
        """Return the fields named *key*, or else those whose name is the same text as bytes or str.

        Which one a field has depends on the type of the body, which is the client's to choose.
        """
        table = self.list.table()
        found = table.get(key)
        if found is None and isinstance(key, (str, bytes)):
            other = text_of(key) if isinstance(key, bytes) else key.encode(errors="replace")
            found = table.get(other)
        return found or []


def apply_fs_data(object, fs, **args):
    """Call *object* with *args* and those fields of *fs* that it has parameters for.

    A field is passed as its value, that of an urlencoded body as text, an upload as the Field,
    several of one name as a list. A field never takes the place of one of *args*.
    """
    accepts = _acceptance(object)
    if accepts is None:
        return object()
    given = {}
    for field in fs.list:
        name = text_of(field.name) if isinstance(field.name, bytes) else field.name
        if name is None or name in args or not accepts(name):
            continue
        value = field if field.filename else field.value
        if isinstance(field.name, bytes) and isinstance(value, bytes):
            value = text_of(value)
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if len(values) == 1:
            given[name] = values[0]
    for name, value in args.items():
        if accepts(name):
            given[name] = value
    return object(**given)


def _acceptance(called):
    """Return a function that tells whether *called* can be given a name; None if nobody knows.

    Not what a decorator wraps counts: the wrapper is what is called.
    """
    function = called
    if not isinstance(called, types.FunctionType):
        function = getattr(
            called, "__func__", inspect.getattr_static(type(called), "__call__", None)
        )
    if isinstance(function, types.FunctionType) and not hasattr(function, "__signature__"):
        code = function.__code__
        bound = int(function is not called)
        if code.co_flags & inspect.CO_VARKEYWORDS:
            # a client that names self would end the call
            own = code.co_varnames[code.co_posonlyargcount : bound]
            return lambda name: name not in own
        first = max(code.co_posonlyargcount, bound)
        return code.co_varnames[first : code.co_argcount + code.co_kwonlyargcount].__contains__
    try:
        parameters = inspect.signature(called, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return lambda name: True
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name for parameter in parameters if parameter.kind in by_name}.__contains__


def redirect(req, location, permanent=0, text=None):
    """Answer with a redirect to *location*: 302, or 301 if it is permanent.

    :param text: the body; a link to *location* by default.
    :raises SERVER_RETURN: always, unless one of the next two.
    :raises TypeError: if *location* is no str.
    :raises OSError: if output has been sent already.
    """
    if not isinstance(location, str):
        raise TypeError("location must be of type str")
    if req.sent_bodyct:
        raise OSError("cannot redirect, output has been sent already")
    req.err_headers_out["Location"] = location
    req.status = HTTP_MOVED_PERMANENTLY if permanent else HTTP_MOVED_TEMPORARILY
    if text is None:
        link = escape(location)
        text = f'<p>The document has moved <a href="{link}">here</a></p>\n'
    req.write(text)
    raise SERVER_RETURN(DONE)


def _blocks(req):
    while block := guarded.read(req, _BLOCK):
        yield block


def _refused(req, status: int, error: Exception, level: int = APLOG_INFO) -> SERVER_RETURN:
    """Return what answers with *status*, once the log says why."""
    req.log_error(f"form answered with {status}: {error}", level)
    return SERVER_RETURN(status)
