"""The work directory: where the quickstart keeps everything it makes."""

import os
import pwd
import secrets
import sys

from handlers import htpasswd

SIZES = "200x200 400x400 200x200-crop 400x400-crop"

_APACHE_USERS = ("www-data", "apache", "daemon", "nobody")


class Failed(Exception):
    """Raised with one sentence that tells the user what is wrong."""


class Work:
    """Names of what lies in the work directory *directory*, and who its server runs as."""

    def __init__(self, directory: str):
        self.directory = directory
        self.database = self._in("images.db")
        self.samples = self._in("samples")
        self.configuration = self._in("httpd.conf")
        self.cache = self._in("cache")
        self.snapshot = self._in("cache", "lookup.snapshot")
        self.etc = self._in("etc")
        self.settings = self._in("etc", "settings.ini")
        self.documents = self._in("htdocs")
        self.logs = self._in("logs")
        self.error_log = self._in("logs", "error.log")
        self.access_log = self._in("logs", "access.log")
        self.sessions = self._in("sessions")
        self.users = self._in("etc", "htpasswd")
        self.run = self._in("run")
        self.pid_file = self._in("run", "httpd.pid")
        self.user = _apache_user() if os.geteuid() == 0 else None

    def _in(self, *parts: str) -> str:
        return os.path.join(self.directory, *parts)

    def make(self) -> None:
        """Make the directories; those that Apache's children write to belong to their user.

        :raises Failed: if that cannot be done.
        """
        try:
            for directory in (self.directory, self.etc, self.documents, self.logs, self.run):
                os.makedirs(directory, exist_ok=True)
            os.makedirs(os.path.join(self.cache, "thumbs"), exist_ok=True)
            os.makedirs(self.sessions, mode=0o700, exist_ok=True)
            if self.user:
                thumbs = os.path.join(self.cache, "thumbs")
                for directory in (self.cache, thumbs, self.sessions):
                    os.chown(directory, self.user.pw_uid, self.user.pw_gid)
        except OSError as error:
            raise Failed(f"cannot make {error.filename}: {error.strerror}") from None

    def write_settings(
        self,
        url: str,
        root: str,
        private: str | None = None,
        snapshot: bool = True,
        sizes: str = SIZES,
    ) -> None:
        """Write settings.ini, readable by Apache's user alone, and the entry script beside it.

        :param private: the table's column that says which pictures are private, if it has one.
        :param snapshot: whether the children share a snapshot of the table.
        """
        lines = ["[lookup]", f"database = {url}"]
        if snapshot:
            lines.append(f"snapshot = {self.snapshot}")
        if private:
            lines.append(f"private = {private}")
        lines += ["", "[images]", f"root = {root}"]
        lines += ["", "[gallery]", f"users = {self.users}"]
        lines += ["", "[mod_python.session]", f"database_directory = {self.sessions}"]
        lines += ["", "[thumbnail]", f"cache = {self.cache}", f"sizes = {sizes}"]
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
            self._write_secret(note, password)
        with open(note, encoding="ascii") as file:
            return file.read()

    def _write_secret(self, path: str, text: str) -> None:
        descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if self.user:
                os.fchown(file.fileno(), self.user.pw_uid, self.user.pw_gid)
        os.replace(path + ".new", path)


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
