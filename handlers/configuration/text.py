"""Apache's configuration as a tree of lines that prints as the very bytes that were read.

Lines, continuations, comments, sections and words are those of httpd's own parser
(https://httpd.apache.org/docs/2.4/configuring.html#syntax). Text is Latin-1 here, one character a
byte, whatever the file's encoding is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_OPENING = re.compile(r"<([^\s/>!][^\s>]*)\s*(.*?)\s*>?\s*$", re.DOTALL)
_CLOSING = re.compile(r"</\s*([^\s>]*)\s*>?\s*$")
# what isspace() of C takes for space, and nothing that only Unicode does
SPACE = " \t\n\r\v\f"


class Malformed(ValueError):
    """Raised for a text that Apache itself would refuse to start with; says where and why."""


@dataclass(eq=False)
class Line:
    """One directive, comment or empty line, with its continuation lines."""

    #: As it was read, with the ends of its lines.
    raw: str
    file: str
    number: int
    parent: "Section | None" = None
    #: Name as it is spelled, and the text after it; both empty for comments and empty lines.
    name: str = ""
    arguments: str = ""

    @property
    def key(self) -> str:
        """The name in lower case, as Apache compares it."""
        return self.name.lower()

    @property
    def words(self) -> list[str]:
        """The arguments, without their quotes."""
        return split(self.arguments)

    @property
    def place(self) -> str:
        """File and line, for a message."""
        return f"{self.file}:{self.number}"

    @property
    def indent(self) -> str:
        """The space that the line begins with."""
        return self.raw[: len(self.raw) - len(self.raw.lstrip(" \t"))]

    @property
    def end(self) -> str:
        """The end of the line: a line feed, one after a carriage return, or nothing."""
        body = self.raw.rstrip("\r\n")
        return self.raw[len(body) :]

    def print(self) -> Iterator[str]:
        """Yield the text."""
        yield self.raw


@dataclass(eq=False)
class Section(Line):
    """A line like ``<Directory /srv>``, what stands in it, and the line that closes it."""

    children: list[Line] = field(default_factory=list)
    closing: Line | None = None

    def print(self) -> Iterator[str]:
        """Yield the text of the whole section."""
        yield self.raw
        for child in self.children:
            yield from child.print()
        if self.closing is not None:
            yield self.closing.raw

    def walk(self) -> Iterator[Line]:
        """Yield what stands in it, at any depth, in order."""
        for child in self.children:
            yield child
            if isinstance(child, Section):
                yield from child.walk()


def parse(text: str, file: str = "standard input") -> Section:
    """Return the tree of a configuration: a section without a name that holds everything.

    ``"".join(tree.print())`` is *text* again.

    :raises Malformed: for a section that is not closed, or closed and not open.
    """
    root = Section("", file, 0)
    inside = root
    for number, raw in _logical_lines(text):
        body = _joined(raw)
        closing = _CLOSING.match(body)
        if closing:
            if inside is root or inside.key != closing[1].lower():
                opened = f"<{inside.name}> of line {inside.number}" if inside is not root else ""
                raise Malformed(f"{file}:{number}: {body} closes {opened or 'nothing'}")
            inside.closing = Line(raw, file, number, inside)
            inside = inside.parent
            continue
        opening = _OPENING.match(body)
        if opening:
            section = Section(raw, file, number, inside, opening[1], opening[2])
            inside.children.append(section)
            inside = section
            continue
        name, arguments = "", ""
        if body and not body.startswith("#"):
            name, _, arguments = _first_word(body)
        inside.children.append(Line(raw, file, number, inside, name, arguments))
    if inside is not root:
        raise Malformed(f"{inside.place}: <{inside.name}> is not closed")
    return root


def split(arguments: str) -> list[str]:
    """Return the words of a directive's arguments as Apache reads them.

    A word may stand in quotes of either kind; a backslash before a backslash, or within quotes
    before the quote, is dropped.
    """
    words = []
    rest = arguments.strip(SPACE)
    while rest:
        word, rest = _next_word(rest)
        words.append(word)
    return words


def quote(word: str) -> str:
    """Return *word* written so that :func:`split` returns it."""
    if word and not re.search(r"[\s\"'\\<>#]", word):
        return word
    mark = "'" if '"' in word and "'" not in word else '"'
    # in order: what is dropped later is a backslash before a backslash or the quote
    return mark + word.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark


def _next_word(text: str) -> tuple[str, str]:
    mark = text[0] if text[0] in "\"'" else ""
    word, place = [], len(mark)
    while place < len(text):
        char = text[place]
        following = text[place + 1 : place + 2]
        if char == "\\" and following and (following == "\\" or following == mark):
            word.append(following)
            place += 2
            continue
        if char == mark if mark else char in SPACE:
            place += 1
            break
        word.append(char)
        place += 1
    return "".join(word), text[place:].lstrip(SPACE)


def _first_word(body: str) -> tuple[str, str, str]:
    """Return (name, space, arguments) of a line that is stripped."""
    if body[0] in "\"'":
        name, rest = _next_word(body)
        return name, " ", rest
    for place, char in enumerate(body):
        if char in SPACE:
            rest = body[place:].lstrip(SPACE)
            return body[:place], body[place : len(body) - len(rest)], rest
    return body, "", ""


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, raw text) of each line with its continuations."""
    whole, first = "", 0
    # not by splitlines(): it takes a form feed and others for the end of a line
    for number, line in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), 1):
        if not whole:
            first = number
        whole += line
        if line.rstrip("\n").removesuffix("\r").endswith("\\"):
            continue
        yield first, whole
        whole = ""
    if whole:
        yield first, whole


def _joined(raw: str) -> str:
    lines = [line.removesuffix("\r") for line in raw.removesuffix("\n").split("\n")]
    joined = "".join(line.removesuffix("\\") for line in lines[:-1]) + lines[-1]
    return joined.strip(SPACE)
