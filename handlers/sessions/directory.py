"""Directories that only this user can write to."""

import logging
import os
import stat

from handlers.sessions.store import StoreRefused, StoreUnavailable

logger = logging.getLogger(__name__)


def private(path: str, create: bool = True) -> str:
    """Return *path* made absolute, after making sure that nobody else can put files there.

    It must be a real directory, owned by this process's user, not writable by group or others;
    the one above it may be writable by others only if it is sticky, as /tmp is. A missing one is
    made with mode 0700.

    :raises StoreRefused: if others can write to it or it is not this user's.
    :raises StoreUnavailable: if it cannot be made or looked at.
    """
    path = os.path.abspath(path)
    try:
        if create:
            _make(path)
        found = os.lstat(path)
        above = os.lstat(os.path.realpath(os.path.dirname(path)))
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreRefused(f"{path}: not a directory")
    if found.st_uid != os.geteuid():
        raise StoreRefused(f"{path}: owned by user {found.st_uid}, and this is {os.geteuid()}")
    if found.st_mode & 0o022:
        raise StoreRefused(f"{path}: others can write to it (chmod go-w)")
    if above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX:
        raise StoreRefused(f"{path}: others can replace it (chmod go-w {os.path.dirname(path)})")
    return path


def _make(path: str) -> bool:
    """Make the directory if there is none; return whether this process has."""
    if os.path.lexists(path):
        return False
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        # another child was first; what it made is judged like anybody's
        return False
    return True


class Private:
    """A directory that :func:`private` has checked, watched for being removed or replaced.

    :raises StoreRefused, StoreUnavailable: as :func:`private` does.
    """

    def __init__(self, path: str, create: bool = True):
        self.path = private(path, create)
        self._identity = self._look()

    def check(self) -> None:
        """Make the directory anew if somebody has removed it; check one that has come in its place.

        One line in the log of all children says so: the sessions in it have ended.

        :raises StoreRefused, StoreUnavailable: as :func:`private` does.
        """
        found = self._look()
        if found is not None and found == self._identity:
            return
        try:
            is_new = found is None and _make(self.path)
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error
        private(self.path)
        if is_new:
            logger.warning(
                "%s was removed, and the sessions in it have ended; it was made anew (files below"
                " /tmp are removed by systemd-tmpfiles: mod_python.session.database_directory)",
                self.path,
            )
        self._identity = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{self.path}: {error.strerror}") from error
        return found.st_dev, found.st_ino
