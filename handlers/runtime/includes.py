"""Python in server side includes, ``<!--#python eval="..." -->`` and ``exec="..."``.

mod_python adds this element to mod_include. Here it is replaced before the page reaches Apache's
INCLUDES filter, and only if that filter is in the request's chain, which Apache's own structures
tell. Code of one page shares its globals: ``req.ssi_globals``, with ``filter`` for ``write``.
Elements in a branch of ``<!--#if -->`` that is not taken run all the same.
"""

import html
import re

from .dispatch import HandlerError
from .filters import Filter

_VALUE = r"\s*=\s*(?:\"((?:\\.|[^\"\\])*)\"|'((?:\\.|[^'\\])*)'|`((?:\\.|[^`\\])*)`)\s*"
_PART = re.compile(rf"(eval|exec){_VALUE}", re.DOTALL)
_ELEMENT = re.compile(rf"<!--#python\s+((?:{_PART.pattern})+)-->".encode(), re.DOTALL)
_QUOTE = re.compile(r"\\([\"'`])")


class Includes(Filter):
    """Replaces the elements of a page, at its end."""

    def __init__(self, req):
        super().__init__(req, "includes", req.filename or "", None, is_input=False)
        self._page: list[bytes] = []

    def process(self, data: bytes, ends: bool) -> bytes:
        """Return nothing until the page *ends*, then what it has become.

        :raises HandlerError: for whatever the code raises.
        """
        self._page.append(data)
        if not ends:
            return b""
        page, self._page = b"".join(self._page), []
        return _ELEMENT.sub(self._replaced, page)

    def _replaced(self, found) -> bytes:
        self._written = []
        if not hasattr(self.req, "ssi_globals"):
            self.req.ssi_globals = {}
        scope = self.req.ssi_globals
        scope["filter"], scope["__file__"] = self, self.req.filename
        for kind, *values in _PART.findall(found[1].decode("utf-8", "surrogateescape")):
            code = html.unescape(_QUOTE.sub(r"\1", "".join(values)))
            self._run(kind, code.replace("\r\n", "\n").rstrip(), scope)
        scope["filter"] = None
        return b"".join(self._written)

    def _run(self, kind, code, scope):
        try:
            if kind == "exec":
                exec(code, scope)
                return
            result = eval(code, scope)
        except BaseException as error:
            raise HandlerError(self.name, self.handler) from error
        if result is not None:
            self.write(str(result))
