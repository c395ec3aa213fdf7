"""Lines put in place of others, with the indent and the ends of lines of their place."""

from dataclasses import dataclass, field

from handlers.configuration.text import Line, Section


@dataclass
class Edits:
    """What is to change in a tree."""

    #: Lines in place of a line, before it and after it.
    instead: dict[Line, list[str]] = field(default_factory=dict)
    before: dict[Line, list[str]] = field(default_factory=dict)
    after: dict[Line, list[str]] = field(default_factory=dict)
    #: Lines at the start and at the end of a section.
    at_start: dict[Section, list[str]] = field(default_factory=dict)
    at_end: dict[Section, list[str]] = field(default_factory=dict)

    def has(self, word: str) -> bool:
        """Tell whether a line to be put anywhere begins with *word*."""
        places = (self.instead, self.before, self.after, self.at_start, self.at_end)
        return any(
            text.lstrip().startswith(word)
            for lines in places
            for texts in lines.values()
            for text in texts
        )

    def apply(self, section: Section) -> None:
        """Change a tree."""
        children: list[Line] = []
        for child in section.children:
            if isinstance(child, Section):
                if child in self.instead:
                    child.raw = _printed(self.instead[child], child)
                self.apply(child)
            children += _as_lines(self.before.get(child, []), child)
            if child in self.instead and not isinstance(child, Section):
                children += _as_lines(self.instead[child], child, is_last=child)
            else:
                children.append(child)
            children += _as_lines(self.after.get(child, []), child)
        inner = next((child for child in section.children if child.raw.strip()), None)
        indent = inner.indent if inner is not None else ""
        end = section.end or "\n"
        children = [
            *(Line(indent + text + end, "", 0) for text in self.at_start.get(section, [])),
            *children,
            *(Line(indent + text + end, "", 0) for text in self.at_end.get(section, [])),
        ]
        for line in children[:-1]:
            # a text need not end in a line feed
            last = (line.closing or line) if isinstance(line, Section) else line
            if not last.end:
                last.raw += "\n"
            if last.raw.removesuffix("\n").removesuffix("\r").endswith("\\"):
                # nor need its last line be whole
                last.raw += "\n"
        section.children = children


def _as_lines(texts: list[str], like: Line, is_last: Line | None = None) -> list[Line]:
    end = like.end or "\n"
    lines = [Line(like.indent + text + end, "", 0) for text in texts]
    if lines and is_last is not None and not like.end:
        lines[-1].raw = lines[-1].raw.removesuffix(end)
    return lines


def _printed(texts: list[str], like: Line) -> str:
    return "".join(line.raw for line in _as_lines(texts, like, is_last=like))


def one_line(line: Line) -> str:
    """Return a directive on one line."""
    if isinstance(line, Section):
        return f"<{line.name} {line.arguments}>"
    return f"{line.name} {line.arguments}".rstrip()


def ancestors(line: Line) -> list[Section]:
    """Return the sections around a line, innermost first; the last one is no real one."""
    found = []
    at = line.parent
    while at is not None:
        found.append(at)
        at = at.parent
    return found
