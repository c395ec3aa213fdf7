"""Directories that root makes for Apache's user, where others may try to lead it astray."""

import os
import pwd
import stat

from handlers import worker
from handlers.commands import owner
from handlers.commands.result import Failed

_BOUNDS = worker.Bounds(seconds=30, cpu_seconds=10, memory=1 << 28)
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MADE, _THERE, _GIVEN = "made", "there", "given"


def ensure(path: str, uid: int, gid: int, dry_run: bool = False) -> str:
    """Make sure that *path* is a directory of the user *uid*; make it and those above if need be.

    No link is followed, and root touches nothing below a directory that belongs to neither root nor
    that user. What is below one of the user's own is made by a process of that user.

    :param dry_run: only find out.
    :return: ``made``, ``there``, or ``given``: an empty directory of root's was given to the user.
    :raises Failed: if it belongs to somebody else, is no directory, or cannot be made.
    """
    path = os.path.abspath(path)
    parts = path.strip("/").split("/")
    fd, at = os.open("/", _FLAGS), "/"
    try:
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            at = os.path.join(at, part)
            made = False
            try:
                below = os.open(part, _FLAGS, dir_fd=fd)
            except FileNotFoundError:
                if dry_run:
                    return _MADE
                if os.geteuid() == 0 and uid != 0 and os.fstat(fd).st_uid == uid:
                    return _made_by_user(path, uid, gid)
                os.mkdir(part, 0o755, dir_fd=fd)
                below, made = os.open(part, _FLAGS, dir_fd=fd), True
            except NotADirectoryError:
                raise Failed(_no_directory(at)) from None
            os.close(fd)
            fd = below
            if not is_last:
                _check_above(at, fd, uid)
        return _owned(path, fd, uid, gid, made, dry_run)
    except OSError as error:
        raise Failed(f"{at}: {error.strerror}") from error
    finally:
        os.close(fd)


def unreadable(uid: int, gid: int, paths: list[str]) -> str | None:
    """Return the first of *paths*, or of the directories above it, that the user may not read.

    A path that does not exist is passed over.
    """
    if os.geteuid() not in (0, uid):
        return None

    def look() -> tuple[dict, bytes]:
        owner.become_user(uid, gid)
        for path in paths:
            above = [path]
            while above[-1] != "/":
                above.append(os.path.dirname(above[-1]))
            for place in reversed(above[1:]):
                if not os.access(place, os.X_OK) and os.access(os.path.dirname(place), os.X_OK):
                    return {"path": place}, b""
            wanted = os.R_OK | (os.X_OK if os.path.isdir(path) else 0)
            if os.path.exists(path) and not os.access(path, wanted):
                return {"path": path}, b""
        return {"path": None}, b""

    return worker.call(look, _BOUNDS).answer["path"]


def name_of(uid: int) -> str:
    """Return the name of the user *uid*, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _made_by_user(path: str, uid: int, gid: int) -> str:
    def make() -> tuple[dict, bytes]:
        owner.become_user(uid, gid)
        try:
            os.makedirs(path, 0o755, exist_ok=True)
        except OSError as error:
            return {"fault": f"{error.filename}: {error.strerror}"}, b""
        return {}, b""

    answer = worker.call(make, _BOUNDS).answer
    if "fault" in answer:
        raise Failed(answer["fault"])
    return _MADE


def _no_directory(path: str) -> str:
    if os.path.islink(path):
        return f"{path} is a link: name the directory itself, {os.path.realpath(path)}"
    return f"{path} is no directory"


def _check_above(path: str, fd: int, uid: int) -> None:
    found = os.fstat(fd)
    if os.geteuid() != 0:
        return
    if found.st_uid not in (0, uid):
        raise Failed(
            f"{path} belongs to {name_of(found.st_uid)}: take a directory below root's own"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise Failed(f"everybody may write to {path}: chmod o-w {path}, or take another directory")


def _owned(path: str, fd: int, uid: int, gid: int, made: bool, dry_run: bool) -> str:
    found = os.fstat(fd)
    if found.st_uid == uid:
        return _MADE if made else _THERE
    user = name_of(uid)
    if found.st_uid == os.geteuid() == 0 and (made or not os.listdir(fd)):
        if not dry_run:
            os.fchown(fd, uid, gid)
        return _MADE if made else _GIVEN
    raise Failed(
        f"{path} belongs to {name_of(found.st_uid)} and must be {user}'s: take another directory, "
        f"or give it away, if nothing else is in it: chown -R {user}: {path}"
    )
