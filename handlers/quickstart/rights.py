"""Whose files root may use, and what runs with the rights of Apache's user instead.

Run by root, the quickstart executes and writes what lies in its work directory and its virtual
environment. Nobody else may be able to put something else there. What belongs to Apache's user,
the cache above all, is touched by a process of that user only.
"""

import grp
import json
import os
import pwd
import stat
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator

# as many as the kernel itself follows, path_resolution(7)
_LINKS_FOLLOWED = 40
_ACL = "system.posix_acl_access"


class Failed(Exception):
    """Raised with one sentence that tells the user what is wrong."""


def check_owned(path: str, what: str) -> None:
    """Make sure that only root and the caller can replace *path* or put something into it.

    Every directory and link on the way must belong to one of them. Others may write to a directory
    on the way if it is sticky, as /tmp is, and never to *path* itself. A path that does not exist
    yet is judged by the directories that do.

    :param path: an absolute path.
    :param what: what it is for, as in ``the work directory``.
    :raises Failed: if somebody else could.
    """
    final = os.path.realpath(path)
    try:
        for here, found in _components(path):
            is_shared = found.st_mode & stat.S_ISVTX and here != final
            _check(here, found, f"{what} {path}", bool(is_shared))
    except OSError as error:
        raise Failed(f"{what} {path} cannot be used: {error.strerror}") from None


def check_entry(path: str, what: str) -> None:
    """Make sure that *path*, in a directory that is checked, can be changed by no third user.

    :param what: what it is part of, for the error.
    :raises Failed: if somebody else could.
    """
    _check(path, os.lstat(path), what, False)


def is_owned(path: str) -> bool:
    """Tell whether :func:`check_owned` accepts *path*."""
    try:
        check_owned(path, "")
    except Failed:
        return False
    return True


def give(path: str, user: pwd.struct_passwd) -> None:
    """Give the directory *path* to *user*, unless it is theirs; never follow a link.

    :raises Failed: if it is no directory, or belongs to a third user.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError:
        raise Failed(f"{path} is not a directory: delete it") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid not in (0, user.pw_uid):
            raise Failed(f"{path} belongs to {_name(found.st_uid)}: delete it")
        if (found.st_uid, found.st_gid) != (user.pw_uid, user.pw_gid):
            os.fchown(descriptor, user.pw_uid, user.pw_gid)
    finally:
        os.close(descriptor)


def run_as(user: pwd.struct_passwd | None, work: Callable, *arguments):
    """Return what *work* returns, run in a process of its own with the rights of *user*.

    :param user: None: this process's own rights, in this process.
    :param work: what it returns must be made of what JSON knows.
    :raises Failed: with its sentence, if *work* raised one.
    """
    if user is None:
        return work(*arguments)
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.chdir("/")
            answer = _answer(work, arguments)
            with open(writing, "w", encoding="utf-8") as pipe:
                json.dump(answer, pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    if not text:
        raise Failed(f"a process of {user.pw_name} ended without an answer")
    failure, result = json.loads(text)
    if failure is not None:
        raise Failed(failure)
    return result


def closed(path: str) -> str | None:
    """Return what this process may not read on the way to *path*, itself included, or None.

    A part that does not exist is not closed.
    """
    path = os.path.realpath(path)
    above = [path]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    for directory in above[:0:-1]:
        if not os.access(directory, os.X_OK) and os.path.lexists(directory):
            return directory
    if os.path.lexists(path) and not os.access(
        path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)
    ):
        return path
    return None


def check_open(path: str, user: pwd.struct_passwd | None, what: str) -> None:
    """Make sure that Apache's *user* can read *path*; None: the caller.

    :param what: what it is, as in ``the folder``.
    :raises Failed: if not.
    """
    at = run_as(user, closed, path)
    if at is not None:
        who = f"Apache's user {user.pw_name}" if user else "this user"
        there = "" if at == os.path.realpath(path) else f": {at} is closed"
        raise Failed(f"{who} cannot read {what} {path}{there}")


def _answer(work: Callable, arguments: tuple) -> tuple:
    try:
        return None, work(*arguments)
    except Failed as error:
        return str(error), None


def _check(path: str, found: os.stat_result, what: str, is_shared: bool) -> None:
    if found.st_uid not in _trusted():
        raise Failed(f"{what} is refused: {path} belongs to {_name(found.st_uid)}")
    if not is_shared and not stat.S_ISLNK(found.st_mode) and _others_can_write(path, found):
        raise Failed(f"{what} is refused: others can write to {path}")


def _trusted() -> set[int]:
    return {0, os.geteuid()}


def _components(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all that the kernel passes on the way to *path*, up to what does not exist."""
    yield "/", os.lstat("/")
    here, pending, links = "/", deque(path.split("/")), 0
    while pending:
        part = pending.popleft()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, part)
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            return
        yield there, found
        if not stat.S_ISLNK(found.st_mode):
            here = there
            continue
        links += 1
        if links > _LINKS_FOLLOWED:
            raise OSError(0, "too many links")
        target = os.readlink(there)
        pending.extendleft(reversed(target.split("/")))
        if target.startswith("/"):
            here = "/"


def _others_can_write(path: str, found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    # with an ACL, the group's bits are what anybody named in it may do at most
    return _has_acl(path) or not _is_private_group(found.st_gid)


def _has_acl(path: str) -> bool:
    try:
        os.getxattr(path, _ACL)
    except OSError:
        return False
    return True


def _is_private_group(gid: int) -> bool:
    """Tell whether nobody but root and the caller is in the group."""
    try:
        members = {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(gid).gr_mem}
    except KeyError:
        return False
    members.update(entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid)
    return members <= _trusted()


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
