"""Filters of what a handler writes and reads: PythonOutputFilter and PythonInputFilter.

A filter is a function that is called with a :class:`Filter` for each block of data, and once more
at the end::

    def outputfilter(filter):
        text = filter.read()
        while text:
            filter.write(text.upper())
            text = filter.read()
        if text is None:
            filter.close()

Filters stand between the handler and Apache's own filters; they see what handlers of the runtime
write and read, and nothing else. Pages of errors are not filtered. A filter that fails is logged,
and the request is answered 500 if nothing was sent.
"""

import logging
import os

from handlers import faults

from . import importer, options
from .dispatch import SERVER_RETURN, HandlerError, resolve_object

_logger = logging.getLogger(__name__)
_BLOCK = 8192


class Filter:
    """What a filter's function is called with: mod_python's filter object.

    :ivar req: the request.
    :ivar name: the name that it was registered by, in small letters.
    :ivar handler: the text that names the function.
    :ivar dir: the directory where its module is looked for, None for none.
    :ivar is_input: 1 for a filter of the request's body, 0 for one of the response's.
    :ivar closed: 1 once it was closed.
    """

    softspace = 0

    def __init__(self, req, name: str, handler: str, directory: str | None, is_input: bool):
        self.req = req
        self.name = name
        self.handler = handler
        self.dir = directory
        self.is_input = int(is_input)
        self.closed = 0
        self._is_passed_on = False
        self._data = b""
        self._ends = False
        self._written: list[bytes] = []

    def read(self, length: int = -1) -> bytes | None:
        """Return up to *length* bytes of the data, all there are if it is negative.

        It is empty when this block is read, and None at the end of all data.
        """
        if not self._data:
            return None if self._ends else b""
        if length < 0:
            length = len(self._data)
        block, self._data = self._data[:length], self._data[length:]
        return block

    def readline(self, length: int = -1) -> bytes | None:
        """Return the next line of this block with its line feed, or up to *length* bytes of it."""
        end = self._data.find(b"\n") + 1 or len(self._data)
        return self.read(end if length < 0 else min(length, end))

    def write(self, data: str | bytes) -> None:
        """Pass *data* on; str as UTF-8.

        :raises OSError: if the filter is closed.
        """
        if self.closed:
            raise OSError("write to a closed filter")
        if isinstance(data, str):
            data = data.encode()
        elif not isinstance(data, bytes):
            raise TypeError(f"a filter writes str or bytes, not {type(data).__name__}")
        self._written.append(data)

    def flush(self) -> None:
        """Do nothing: what was written is passed on when the function returns."""

    def close(self) -> None:
        """End the data: nothing after it is passed on."""
        self.closed = 1

    def disable(self) -> None:
        """Stop calling the function; data that it has not read, and what follows, is passed on."""
        self._is_passed_on = True

    def pass_on(self) -> None:
        """Pass on the rest of this block as it is."""
        self._written.append(self._data)
        self._data = b""

    def process(self, data: bytes, ends: bool) -> bytes:
        """Return what the function makes of a block.

        :raises HandlerError: for whatever the function raises.
        """
        if self.closed:
            return b""
        if self._is_passed_on:
            return data
        self._data, self._ends, self._written = data, ends, []
        try:
            self._call()
        except SERVER_RETURN as error:
            # as in mod_python: no more is done with this block
            if len(error.args) == 2 and error.args[1]:
                self.req.status = error.args[1]
        except BaseException as error:
            self._is_passed_on = True
            raise HandlerError(self.name, self.handler) from error
        if self._is_passed_on:
            self.pass_on()
        return b"".join(self._written)

    def _call(self):
        configuration = options.configuration(self.req.environment())
        place = importer.place_of(self.dir or "", configuration.python_path)
        if configuration.autoreload:
            place.check()
        module, _, path = self.handler.partition("::")
        default = "inputfilter" if self.is_input else "outputfilter"
        resolve_object(place.import_module(module), path or default, self)(self)


class FilteredBody:
    """A request's body behind filters.

    :param read: a function that returns at most a given number of bytes of the body below.
    """

    def __init__(self, read, filters: list[Filter]):
        self._read = read
        self._filters = filters
        self._buffer = b""
        self._ended = False

    def read(self, length: int = -1) -> bytes:
        """Return up to *length* bytes, all that is left if it is negative."""
        while not self._ended and (length < 0 or len(self._buffer) < length):
            self._fill()
        if length < 0:
            length = len(self._buffer)
        block, self._buffer = self._buffer[:length], self._buffer[length:]
        return block

    def readline(self, length: int = -1) -> bytes:
        """Return the next line with its line feed, or up to *length* bytes of it."""
        while b"\n" not in self._buffer and not self._ended:
            if 0 <= length <= len(self._buffer):
                break
            self._fill()
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        return self.read(end if length < 0 else min(length, end))

    def _fill(self):
        block = self._read(_BLOCK)
        self._ended = not block
        for part in self._filters:
            block = part.process(block, self._ended)
        self._buffer += block


def in_place(request, is_input: bool) -> list[Filter]:
    """Return the filters that the configuration puts in place for a request.

    Those of ``PythonAddOutputFilter`` are for files with one of their extensions.
    """
    kind = "Input" if is_input else "Output"
    variables = options.configuration(request.environment()).variables
    _, extensions = os.path.splitext(getattr(request, "filename", None) or "")
    found = []
    for name, wanted in options.filters_in_place(variables, kind):
        if not wanted or extensions.removeprefix(".") in [one.removeprefix(".") for one in wanted]:
            found.append(named(request, name, is_input, {}))
    return [part for part in found if part is not None]


def named(request, name: str, is_input: bool, registered: dict) -> Filter | None:
    """Return a new filter of the name *name*: registered for this request, or declared.

    None and a line in the log for one that is neither, such as a filter of Apache's own.
    """
    kind = "Input" if is_input else "Output"
    prefix = f"Python{kind}Filter."
    lowered = name.lower()
    if lowered in registered:
        handler, directory = registered[lowered]
        return Filter(request, lowered, handler, directory, is_input)
    variables = options.configuration(request.environment()).variables
    directory = variables.get(f"{prefix}directory") or None
    for variable, handler in variables.items():
        if variable.startswith(prefix) and variable[len(prefix) :].lower() == lowered:
            return Filter(request, lowered, handler, directory, is_input)
    faults.tell_once(
        _logger,
        logging.ERROR,
        f"an unknown filter was not added: {name}; only filters of Python can be added on mod_wsgi",
    )
    return None
