"""What every case of the sessions benchmark is: a store on a server, filled in bulk.

A case's sessions are filled by processes that run as Apache's user. All cases know the same ids.
"""

import hashlib
import multiprocessing
import os
import pathlib
import time

from handlers.quickstart.work import Work
from tests.servers.httpd import Httpd, make_images_table

HANDLERS = "session_rivals"
TIMEOUT = 1800
#: a session of about 1 KB
VALUE = {f"key{number}": f"{number:040d}" for number in range(19)} | {"hits": 1}

_CHILDREN = 8
_fork = multiprocessing.get_context("fork")


def session_ids(name: str, count: int) -> list[str]:
    """Return *count* session ids, the same for the same *name*."""
    return [hashlib.md5(f"{name} {number}".encode()).hexdigest() for number in range(count)]


class Case:
    """One store on one server.

    :ivar name: as ``--store`` names it.
    :ivar sweep: what deletes expired sessions in the turns with a sweep.
    :param base: a directory that Apache's user can reach, with the handlers in HANDLERS.
    :param count: how many sessions live.
    """

    name = ""
    server = "mod_wsgi"
    cookie = "pysid"
    sweep = ""
    #: path of an answer of the same server without a session
    hello = "/session/?hello"
    #: how many processes can fill it at once
    fillers = 2

    def __init__(self, base: pathlib.Path, count: int):
        self.count = count
        self.handlers = base / HANDLERS
        self.directory = base / self.name
        self.directory.mkdir()
        self.work = Work(str(self.directory / "site"))
        self.work.make()
        self._url = make_images_table(self.directory / "images.db", {})
        #: where the sessions lie; Apache's user owns it
        self.place = pathlib.Path(self.work.sessions)

    @staticmethod
    def missing() -> str | None:
        """Return what has to be installed for this case, None if nothing."""

    def open(self, stack) -> None:
        """Start the servers behind the store, to be stopped by *stack*."""

    def site(self, sweeping: bool) -> Httpd:
        """Return the site, which is not started, with or without what deletes expired sessions."""
        site = Httpd(
            self.work.directory,
            self.server,
            self._url,
            self.handlers,
            children=_CHILDREN,
            extra=f"MaxKeepAliveRequests 0\nKeepAliveTimeout 60\n{self.directives(sweeping)}",
        )
        site.settings(self.settings(sweeping))
        return site

    def directives(self, sweeping: bool) -> str:
        """Return the directives that put the handler at ``/session/``."""
        raise NotImplementedError

    def settings(self, sweeping: bool) -> str:
        """Return the options of the sessions, as Httpd.settings takes them."""
        return "mod_python.session.sweep = off"

    def prepare(self) -> None:
        """Make what the sessions are filled into; runs as Apache's user."""

    def fill(self, ids: list[str], accessed: float) -> None:
        """Store a session of VALUE for each id; runs as Apache's user."""
        raise NotImplementedError

    def present(self, ids: list[str]) -> int:
        """Return how many of the sessions are still stored; runs as Apache's user."""
        raise NotImplementedError

    def beside(self) -> None:
        """Delete expired sessions for ever, where a process beside the server does it."""

    def as_apache(self, function, *args):
        """Run *function* in a process of Apache's user; return what it returns."""
        answers = _fork.SimpleQueue()
        process = self.start(lambda: answers.put(function(*args)))
        answer = None
        while process.is_alive() and answers.empty():
            process.join(0.01)
        if not answers.empty():
            answer = answers.get()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{self.name}: {function.__name__} failed")
        return answer

    def start(self, function):
        """Start *function* in a process of Apache's user."""

        def child():
            user = self.work.user
            if user:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            function()

        process = _fork.Process(target=child)
        process.start()
        return process

    def fill_all(self, ids: list[str], accessed: float) -> None:
        """Call :meth:`fill` in as many processes as may."""
        parts = [ids[number :: self.fillers] for number in range(self.fillers)]
        processes = [self.start(lambda part=part: self.fill(part, accessed)) for part in parts]
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError(f"{self.name}: not filled")

    def expire(self, ids: list[str]) -> None:
        """Store the sessions as expired an hour ago."""
        self.fill_all(ids, time.time() - 3 * TIMEOUT)
