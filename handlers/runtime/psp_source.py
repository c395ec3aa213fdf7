"""PSP pages turned into Python, as mod_python's own lexer does it.

Each stretch of a page's text becomes one ``req.write``, and each line of the page a line of Python.
Behind a block of code that ends in a line of its own, the text is indented like that block's last
line, by one tab more if the line ends with a colon. A block within one line changes nothing.
"""

import ast
import os
import re
from collections.abc import Callable
from typing import NamedTuple

_OPEN = 'req.write("""'
_CLOSE = '""",0)'
_LINE_END = re.compile(r"\r\n?")
# mod_python's lexer doubles the backslash of these three escapes and leaves others to Python
_QUOTED = re.compile(r'"|\\(?=[nrt])')
_ESCAPE = re.compile(
    r"\\([\\'\"abfnrtv\n]|[0-3]?[0-7]{1,2}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}"
    r"|U(?:000[0-9A-Fa-f]|0010)[0-9A-Fa-f]{4})?|\""
)
_INDENT = re.compile(r"[ \t]*")
_INCLUDE = re.compile(r"""\s*include\s+file\s*=\s*(["'])(.+?)\1""")
_MOST_INCLUDES = 1000
_DEEPEST_INCLUDE = 50


class Translation(NamedTuple):
    """A page as Python.

    :ivar text: the Python source.
    :ivar lines: the page's line for each line of *text*; for the lines of an included file that of
        its directive.
    :ivar included: paths of the files that directives have included.
    """

    text: str
    lines: list[int]
    included: tuple[str, ...]


def translate(source: str | bytes, directory: str | None = None, name: str = "page") -> Translation:
    """Turn the page *source* into Python; the time is proportional to the page.

    :param source: bytes are UTF-8.
    :param directory: where included files lie; without it no directive may include one.
    :param name: what errors call the page.
    :raises UnicodeDecodeError: for bytes that are not UTF-8.
    :raises SyntaxError: for a comment without an end, and where includes have none.
    :raises OSError: for a file that cannot be included.
    """
    translator = _Translator(directory, name)
    translator.read(source)
    return translator.result()


def compile_page(translation: Translation, filename: str):
    """Return the code of a page; the line numbers in it are the page's.

    :raises SyntaxError: whatever is wrong with the page's Python; its line is the page's.
    """
    lines = translation.lines
    try:
        tree = ast.parse(translation.text, filename)
        for node in ast.walk(tree):
            if hasattr(node, "lineno"):
                # columns are those of the Python text, which nobody has seen
                node.lineno = lines[node.lineno - 1]
                node.end_lineno = lines[node.end_lineno - 1]
                node.col_offset = node.end_col_offset = 0
        return compile(tree, filename, "exec")
    except SyntaxError as error:
        line = lines[min(error.lineno or 1, len(lines)) - 1]
        raise SyntaxError(error.msg, (filename, line, None, None)) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        # NUL bytes, lone surrogates, brackets nested too deeply
        raise SyntaxError(f"not Python: {error}", (filename, 1, None, None)) from None


class _Translator:
    """The lexer's state: what it has put out, and where in the page it is."""

    def __init__(self, directory, name):
        self._directory = directory
        self._name = name
        self._out: list[str] = []
        self._lines = [1]
        self._page_line = 1
        self._depth = 0
        self._included: list[str] = []
        self._read: Callable[[str, int], int] = self._read_text
        self._block = _Block()

    def read(self, source: str | bytes) -> None:
        """Turn a file into Python that continues what there is: the page, or what it includes."""
        text = _LINE_END.sub("\n", source.decode() if isinstance(source, bytes) else source)
        if text and not self._out:
            self._put(_OPEN)
        place = 0
        while place < len(text):
            place = self._read(text, place)

    def result(self) -> Translation:
        """Return the whole, once the page has been read."""
        if self._read == self._read_text and self._out:
            self._put(_CLOSE + "\n")
        elif self._read == self._read_comment:
            raise self._error("a comment without --%>")
        elif self._read == self._read_directive:
            raise self._error("a directive without %>")
        return Translation("".join(self._out), self._lines, tuple(self._included))

    def _put(self, text):
        self._out.append(text)

    def _put_page(self, text, original):
        """Put out *text*, which has the same line ends as *original*, a stretch of the page."""
        self._out.append(text)
        for _ in range(original.count("\n")):
            self._skip_lines(1)
            self._lines.append(self._page_line)

    def _skip_lines(self, count):
        if self._depth == 0:
            self._page_line += count

    def _read_text(self, text, place):
        mark = text.find("<%", place)
        end = len(text) if mark < 0 else mark
        if end > place:
            piece = text[place:end]
            self._put_page(_literal(piece), piece)
        if mark < 0:
            return end
        kind = text[mark + 2 : mark + 3]
        if kind == "=":
            self._put(_CLOSE + "; req.write(str(")
            self._read = self._read_expression
            return mark + 3
        if kind == "@":
            self._read = self._read_directive
            return mark + 3
        if text.startswith("--", mark + 2):
            self._read = self._read_comment
            return mark + 4
        self._put(_CLOSE + ";")
        self._block = _Block()
        self._read = self._read_code
        return mark + 2

    def _read_expression(self, text, place):
        piece, place, ended = _up_to(text, place, "%>")
        self._put_page(piece, piece)
        if ended:
            self._put("),0); " + _OPEN)
            self._read = self._read_text
        return place

    def _read_code(self, text, place):
        piece, place, ended = _up_to(text, place, "%>")
        self._put_page(piece, piece)
        self._block.add(piece)
        if ended:
            self._put(self._block.lead() + _OPEN)
            self._read = self._read_text
        return place

    def _read_comment(self, text, place):
        piece, place, ended = _up_to(text, place, "--%>")
        self._skip_lines(piece.count("\n"))
        if ended:
            self._read = self._read_text
        return place

    def _read_directive(self, text, place):
        piece, place, ended = _up_to(text, place, "%>")
        self._skip_lines(piece.count("\n"))
        if ended:
            self._read = self._read_text
            if found := _INCLUDE.match(piece):
                self._include(found[2])
        return place

    def _include(self, name):
        if self._directory is None:
            raise self._error("a page that is no file cannot include one")
        if self._depth == _DEEPEST_INCLUDE or len(self._included) == _MOST_INCLUDES:
            raise self._error(f"too many includes, the last one of {name}")
        path = os.path.join(self._directory, name.lstrip("/"))
        if name.startswith("/") and not os.path.exists(path):
            path = name
        with open(path, "rb") as file:
            source = file.read()
        self._included.append(path)
        self._depth += 1
        self.read(source)
        self._depth -= 1

    def _error(self, message):
        return SyntaxError(message, (self._name, self._page_line, None, None))


class _Block:
    """A block of code: what its lines say of the indentation of the text behind it."""

    def __init__(self):
        self._indent = ""
        self._colon = False
        self._of_one_line = True

    def add(self, code: str) -> None:
        """Take the block's code."""
        first, *others = code.split("\n")
        self._of_one_line = not others
        self._colon = first.endswith(":")
        for number, line in enumerate(others, 1):
            last = number == len(others)
            indent = _INDENT.match(line)[0]
            if indent or line or not last:
                self._indent = indent
            if len(line) > len(indent):
                self._colon = line.endswith(":")

    def lead(self) -> str:
        """Return what stands between the code and the ``req.write`` of the text behind it."""
        indent = ";" if self._of_one_line else self._indent
        return indent + "\t" * self._colon


def _up_to(text, place, mark):
    """Return the text before *mark*, the place behind it, and whether it is there."""
    found = text.find(mark, place)
    if found < 0:
        return text[place:], len(text), False
    return text[place:found], found + len(mark), True


def _literal(text):
    """Return *text* as it stands in a string of triple quotes."""
    quoted = _QUOTED.sub(r"\\\g<0>", text).replace("\0", "\\x00")
    return _ESCAPE.sub(_valid_escape, quoted)


def _valid_escape(found):
    if found[0] == '"':
        return '\\"'
    # a backslash that escapes nothing is a backslash; one at the end would escape the quotes
    return found[0] if found[1] else "\\\\"
