"""Why this process cannot use a path, in words that an admin can act on.

The error of a system call names the last part of a path. What is wrong is mostly elsewhere: a
directory on the way that Apache's user may not enter, an owner who is another.
"""

import ctypes
import errno
import os
import pwd
import stat

# as many links as the kernel follows, path_resolution(7)
_LINKS_FOLLOWED = 40
_APACHES = "Apache's"
# faults of all files alike
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def user() -> str:
    """Return who this process is: ``Apache's user www-data``, or ``user ann`` in a command."""
    # httpd's own function is in each of its children
    in_server = hasattr(ctypes.CDLL(None), "ap_mpm_query")
    return f"{_APACHES if in_server else 'the'} user {_name()}"


def why_unreadable(path: str, error: OSError, what: str = "file") -> str:
    """Return why the file or directory *path* could not be opened for reading.

    :param error: what the attempt raised.
    :param what: ``file`` or ``directory``: what should lie there.
    """
    barrier = _barrier(path)
    if barrier is not None:
        return f"{user()} may not enter {barrier}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{user()} may not read it"
    if error.errno == errno.ENOENT:
        return f"no such {what}"
    if error.errno == errno.ENOTDIR and os.path.exists(_encoded(path)):
        return "not a directory"
    if error.errno == errno.ENOTDIR:
        return f"no such {what}"
    return error.strerror or str(error)


def check_writable(directory: str) -> None:
    """Make sure that this process may make files in *directory*.

    :raises OSError: if it may not, for :func:`why_unwritable`.
    """
    # one that is missing is not one that is forbidden
    os.stat(_encoded(directory))
    if not _may_write(directory):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)


def why_unwritable(directory: str, error: OSError) -> str:
    """Return why nothing could be written below *directory*, its name and what to type.

    :param error: what the attempt raised; the directory it names is blamed if it lies below
        *directory*.
    """
    name = _name()
    barrier = _barrier(directory)
    if barrier is not None:
        return f"{directory}: {user()} may not enter {barrier}: chmod a+x {barrier}"
    if not os.path.lexists(_encoded(directory)):
        return f"{directory}: no such directory: mkdir -p {directory} && chown {name}: {directory}"
    if not os.path.isdir(_encoded(directory)):
        return f"{directory}: not a directory"
    blamed = _blamed(directory, error)
    if error.errno in (errno.EACCES, errno.EPERM):
        owner = _name(os.stat(_encoded(blamed)).st_uid)
        if owner != name:
            return (
                f"{blamed} belongs to {owner}, and {user()} may not write there: {giving(blamed)}"
            )
        if _may_write(blamed):
            owner = _owner_of_file(blamed, error)
            if owner not in (None, name):
                file = error.filename
                return f"{file} belongs to {owner}, and {user()} may not write it: {giving(file)}"
            return (
                f"{blamed}: {user()} could not write there, though owner and mode allow it now: "
                "if it comes again, see whether AppArmor or SELinux forbids it"
            )
        return f"{blamed}: {user()} may not write there: chmod u+rwx {blamed}"
    is_of_file = isinstance(error.filename, str) and error.errno not in _OF_THE_DISK
    where = f" ({error.filename})" if is_of_file else ""
    return f"{directory} cannot be written: {error.strerror or error}{where}"


def giving(path: str) -> str:
    """Return what an admin types to give *path* to the user that this process is."""
    return f"chown -R {_name()}: {path}"


def _name(uid: int | None = None) -> str:
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _may_write(directory: str) -> bool:
    return os.access(_encoded(directory), os.W_OK | os.X_OK, effective_ids=True)


def _blamed(directory: str, error: OSError) -> str:
    """Return the deepest directory on the way to the file that *error* names."""
    if not isinstance(error.filename, str):
        return directory
    found = error.filename
    while os.path.commonpath((directory, os.path.abspath(found))) == directory:
        if os.path.isdir(_encoded(found)):
            return found
        found = os.path.dirname(found)
    return directory


def _owner_of_file(directory: str, error: OSError) -> str | None:
    """Return whose the file in *directory* is that *error* names, None if it names none there."""
    file = error.filename
    if not isinstance(file, str) or os.path.dirname(file) != directory:
        return None
    try:
        return _name(os.lstat(_encoded(file)).st_uid)
    except OSError:
        return None


def _encoded(path: str) -> bytes:
    # names are bytes of UTF-8, whatever the locale: Debian starts Apache with LANG=C
    return path.encode("utf-8", "surrogateescape")


def _barrier(path: str) -> str | None:
    """Return the first directory above *path* that this process may not enter, None if none."""
    place, parts = b"/", _encoded(os.path.abspath(path)).split(b"/")[1:]
    for _ in range(_LINKS_FOLLOWED * len(parts)):
        if not parts:
            return None
        try:
            found = os.stat(place)
        except OSError:
            return None
        if stat.S_ISDIR(found.st_mode) and not os.access(place, os.X_OK, effective_ids=True):
            return place.decode("utf-8", "backslashreplace")
        place = os.path.join(place, parts.pop(0))
        if os.path.islink(place):
            target = os.path.join(os.path.dirname(place), os.readlink(place))
            place, parts = b"/", os.path.abspath(target).split(b"/")[1:] + parts
    return None
