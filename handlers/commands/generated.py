"""Files that ``setup`` writes, and how it knows whether somebody has edited one.

The first line of such a file holds a fingerprint of the rest. A file whose rest is another by now,
or that has no such line, is somebody's own: the new text goes beside it as NAME.new.
"""

import contextlib
import hashlib
import os
import re
import secrets
from typing import NamedTuple

from handlers.commands.result import Failed

_MARK = "# Written by modpython-handlers setup ({}), which leaves an edited file alone.\n"
_MARKED = re.compile(re.escape(_MARK).replace(r"\{\}", "([0-9a-f]{16})"))


class File(NamedTuple):
    """A file to be written.

    ``marked`` ones are replaced when their text changes, unless somebody has edited them; others
    are written if they are missing, and never again.
    """

    path: str
    text: str
    marked: bool = True
    mode: int = 0o644
    #: The group that gets it; None leaves it to the system.
    gid: int | None = None

    @property
    def content(self) -> str:
        """The text with its mark, if it gets one."""
        return _MARK.format(_fingerprint(self.text)) + self.text if self.marked else self.text


class Action(NamedTuple):
    """What is to be done with a file, in one word, and the path that is written, if any."""

    word: str
    path: str | None


WRITTEN, UPDATED, UNCHANGED, KEPT, BESIDE = "written", "updated", "unchanged", "kept", "beside"


def decide(file: File) -> Action:
    """Return what is to be done: ``written`` if it is missing; ``updated`` if it is not edited and
    has another text now; ``unchanged``; ``kept`` if it is edited, or somebody's own, and there is
    nothing new; ``beside`` if it is edited and there is.

    :raises Failed: if it cannot be read.
    """
    if not os.path.lexists(file.path):
        return Action(WRITTEN, file.path)
    if not file.marked:
        return Action(KEPT, None)
    try:
        with open(file.path, encoding="utf-8", errors="surrogateescape", newline="") as found:
            text = found.read()
    except OSError as error:
        raise Failed(f"{file.path}: {error.strerror}") from error
    if text == file.content:
        return Action(UNCHANGED, None)
    mark = _MARKED.match(text)
    if mark and mark[1] == _fingerprint(file.text):
        return Action(KEPT, None)
    if is_unedited(text) and not os.path.islink(file.path):
        return Action(UPDATED, file.path)
    return Action(BESIDE, f"{file.path}.new")


def is_marked(path: str) -> bool:
    """Tell whether ``setup`` wrote the file *path*, edited since or not."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return bool(_MARKED.match(file.readline()))
    return False


def is_unedited(text: str) -> bool:
    """Tell whether *text* is that of a file as ``setup`` wrote it."""
    mark = _MARKED.match(text)
    return bool(mark) and mark[1] == _fingerprint(text[mark.end() :])


def write(file: File, path: str) -> None:
    """Write the file as *path*, complete or not at all; a link there is replaced, not followed.

    :raises Failed: if that cannot be done.
    """
    temporary = f"{path}.{secrets.token_hex(4)}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8", newline="") as opened:
            opened.write(file.content)
            if file.gid is not None:
                os.fchown(opened.fileno(), -1, file.gid)
            os.fchmod(opened.fileno(), file.mode)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise Failed(f"{path}: {error.strerror}") from error


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
