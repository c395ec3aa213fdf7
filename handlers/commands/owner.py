"""Commands run by root work as the owner of what they touch."""

import os


def become(directory: str) -> None:
    """Go on as the owner of *directory*, for good, if this process is root's.

    What a command writes there must belong to Apache's children, and in a directory of theirs root
    must not follow links.

    :raises OSError: if there is no such directory.
    """
    if os.geteuid() != 0:
        return
    owner = os.stat(directory)
    os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
