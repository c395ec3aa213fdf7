"""Commands run by root work as the owner of what they touch."""

import os
import pwd
import stat

from handlers.commands.result import Failed


def become(directory: str) -> None:
    """Go on as the owner of *directory*, for good, if this process is root's.

    What a command writes there must belong to Apache's children, and in a directory of theirs root
    must not follow links. Of a directory that is not there yet, the one above it counts.

    :raises Failed: if it is a link or a file; or if it is not there and the one above belongs to
        root, so that nobody can tell who is to own it.
    """
    if os.geteuid() != 0:
        return
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        found = _above(directory)
    except OSError as error:
        raise Failed(f"{directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise Failed(f"{directory} is no directory")
    become_user(found.st_uid, found.st_gid)


def become_user(uid: int, gid: int) -> None:
    """Go on as the user *uid* with the groups that it has, for good.

    :param gid: its group, if the system does not know the user.
    """
    if uid == os.geteuid():
        return
    try:
        user = pwd.getpwuid(uid)
        os.initgroups(user.pw_name, user.pw_gid)
        gid = user.pw_gid
    except KeyError:
        os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _above(directory: str) -> os.stat_result:
    above = os.path.dirname(os.path.abspath(directory))
    try:
        found = os.stat(above)
    except OSError as error:
        raise Failed(f"{above}: {error.strerror}") from error
    if found.st_uid == 0:
        raise Failed(f"{directory}: there is none yet; Apache's children make it")
    return found
