"""The work directory: where the quickstart keeps everything it makes."""

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import sys
from collections.abc import Iterator

from handlers import htpasswd, state_directory
from handlers.quickstart.rights import Failed, check_owned, give

SIZES = "200x200 400x400 200x200-crop 400x400-crop"

_APACHE_USERS = ("www-data", "apache", "daemon", "nobody")


class Work:
    """Names of what lies in the work directory *directory*, and who its server runs as.

    :ivar user: Apache's user, None if the server runs as the caller.
    """

    def __init__(self, directory: str):
        self.directory = directory
        self.database = self._in("images.db")
        self.samples = self._in("samples")
        self.configuration = self._in("httpd.conf")
        self.cache = self._in("cache")
        self.snapshot = state_directory.path(self.cache, "lookup.snapshot")
        self.etc = self._in("etc")
        self.settings = self._in("etc", "settings.ini")
        self.documents = self._in("htdocs")
        self.error_picture = self._in("no-picture.png")
        self.logs = self._in("logs")
        self.setup_log = self._in("logs", "setup.log")
        self.error_log = self._in("logs", "error.log")
        self.access_log = self._in("logs", "access.log")
        self.sessions = self._in("sessions")
        self.users = self._in("etc", "htpasswd")
        self.run = self._in("run")
        self.pid_file = self._in("run", "httpd.pid")
        self.venv = self._in("venv")
        self.user = _apache_user() if os.geteuid() == 0 else None

    def _in(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def make(self) -> None:
        """Make the directories; those that Apache's children write to belong to their user.

        Nothing is touched in those, nor anything that a third user could exchange meanwhile.

        :raises Failed: if that cannot be done.
        """
        try:
            os.makedirs(self.directory, exist_ok=True)
            for directory in (self.directory, self.etc, self.documents, self.logs, self.run):
                os.makedirs(directory, exist_ok=True)
                check_owned(directory, "the work directory")
            for directory, mode in ((self.cache, 0o755), (self.sessions, 0o700)):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, mode)
                if self.user:
                    give(directory, self.user)
        except OSError as error:
            raise Failed(f"cannot make {error.filename}: {error.strerror}") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Let no other quickstart start in this work directory during a with block.

        It gives the descriptor of the lock, which a process can hand on.

        :raises Failed: if another one is at it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._in("run", "lock"), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
        except BlockingIOError:
            raise Failed(f"another quickstart is starting in {self.directory}") from None
        finally:
            os.close(descriptor)

    def remember(self, name: str, value) -> None:
        """Keep *value*, made of what JSON knows, for later starts."""
        self._write(self._in("run", name + ".json"), json.dumps(value), 0o600)

    def recall(self, name: str):
        """Return what :meth:`remember` was given under *name*, None if there is nothing."""
        try:
            with open(self._in("run", name + ".json"), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return None

    def write_settings(
        self,
        url: str,
        root: str,
        private: str | None = None,
        snapshot: bool = True,
        sizes: str = SIZES,
        placeholder: str | None = None,
    ) -> None:
        """Write settings.ini, readable by Apache's user alone, and the entry script beside it.

        :param private: the table's column that says which pictures are private, if it has one.
        :param snapshot: whether the children share a snapshot of the table.
        :param placeholder: the column with blurred pictures, if it has one.
        """
        lines = ["[lookup]", f"database = {url}"]
        if snapshot:
            lines.append(f"snapshot = {self.snapshot}")
        if private:
            lines.append(f"private = {private}")
        if placeholder:
            lines.append(f"placeholder = {placeholder}")
        lines += ["", "[images]", f"root = {_quoted(root)}"]
        lines += ["", "[gallery]", f"users = {self.users}"]
        lines += ["", "[mod_python.session]", f"database_directory = {self.sessions}"]
        lines += ["", "[thumbnail]", f"cache = {self.cache}", f"sizes = {sizes}"]
        if os.path.exists(self.error_picture):
            lines.append(f"error_picture = {self.error_picture}")
        self._write_secret(self.settings, "\n".join(lines) + "\n")
        with open(shipped("handlers.wsgi"), encoding="utf-8") as file:
            entry = file.read().replace('"/opt/modpython-handlers"', repr(sys.prefix))
        with open(os.path.join(self.etc, "handlers.wsgi"), "w", encoding="utf-8") as file:
            file.write(entry)

    def make_user(self, name: str) -> str:
        """Make the file of users with *name* in it, unless it is there; return the password."""
        note = self._in("etc", "password")
        if not os.path.exists(note) or not os.path.exists(self.users):
            password = secrets.token_urlsafe(9)
            self._write_secret(self.users, f"{name}:{htpasswd.encode(password)}\n")
            self._write(note, password, 0o600)
        with open(note, encoding="ascii") as file:
            return file.read()

    def _write_secret(self, path: str, text: str) -> None:
        """Write what Apache's user must read, and nobody else but the caller."""
        self._write(path, text, 0o640 if self.user else 0o600, self.user)

    def _write(self, path: str, text: str, mode: int, reader=None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = os.open(path + ".new", flags, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            if reader:
                os.fchown(file.fileno(), -1, reader.pw_gid)
            os.fchmod(file.fileno(), mode)
        os.replace(path + ".new", path)


def _quoted(path: str) -> str:
    return f'"{path}"' if path != path.strip() else path


def shipped(name: str) -> str:
    """Return the path of a drop-in or script that the package installed beside itself."""
    return os.path.join(sys.prefix, "share", "modpython-handlers", name)


def _apache_user() -> pwd.struct_passwd:
    for name in _APACHE_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failed("no user for Apache's children: tried " + ", ".join(_APACHE_USERS))
