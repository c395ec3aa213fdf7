"""Parse and check the command line, install what is missing, go on in the virtual environment.

It runs on the system's Python, from a checkout, where nothing is installed yet.
"""

import os
import signal
import sys

from handlers.quickstart import httpd, install, options, rights
from handlers.quickstart.options import ENDS, PROGRAM, Options
from handlers.quickstart.rights import Failed
from handlers.quickstart.work import Work

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INTERRUPTED = 130  # exit status, as of a shell for SIGINT


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status, or end as another program."""
    # whatever the caller's: Apache's user reads what is made here, and only root writes it
    os.umask(0o022)
    try:
        found = options.parse(arguments)
        work = Work(found.work)
        rights.check_owned(work.directory, "the work directory")
        if found.action in ("stop", "status"):
            return _stop(work) if found.action == "stop" else _status(work)
        return _start(work, found)
    except Failed as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("quickstart: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _stop(work: Work) -> int:
    httpd.stop(work)
    print("Stopped.")
    return 0


def _status(work: Work) -> int:
    pid = httpd.running(work)
    if not pid:
        raise Failed(f"nothing runs in {work.directory}")
    print(f"Process {pid} runs in {work.directory}.")
    print("\n".join(work.recall("addresses") or ()))
    return 0


def _start(work: Work, found: Options) -> int:
    _check(work, found)
    venv = found.venv or work.recall("venv") or work.venv
    install.check_venv(venv)
    work.make()
    with work.locked() as lock:
        missing = install.packages(found.server, venv, _CHECKOUT)
        install.install_packages(missing, work.setup_log)
        if not install.is_current(venv, _CHECKOUT):
            install.install_handlers(venv, _CHECKOUT, work.setup_log)
        rights.check_open(install.python(venv), work.user, "the virtual environment's")
        work.remember("venv", venv)
        sys.stdout.flush()
        # through a pipe, as everybody sees a process's arguments and a URL may hold a password
        reading, writing = os.pipe()
        with open(writing, "w", encoding="utf-8") as pipe:
            pipe.write(found.to_json())
        for descriptor in (reading, lock):
            os.set_inheritable(descriptor, True)
        # an interrupt must not get lost between the two programs: the next one lets it in
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        # isolated from the caller's directory and environment, as httpd's children are
        command = [install.python(venv), "-I", "-m", "handlers.quickstart.serving"]
        os.execv(command[0], [*command, str(reading), str(lock)])


def _check(work: Work, found: Options) -> None:
    """Find what cannot work before anything is installed or written."""
    running = httpd.running(work)
    if running:
        raise Failed(
            f"already running in {work.directory} (process {running}); "
            f"stop it with: {PROGRAM} --stop --work {work.directory}"
        )
    if found.pictures is not None:
        if not os.path.isdir(found.pictures):
            raise Failed(f"{found.pictures} is not a folder")
        rights.check_open(found.pictures, work.user, "the folder")
    rights.check_open(work.directory, work.user, "the work directory")
    httpd.check_port(found.listen, found.port)
    url = found.url
    if url is not None and url.scheme == "sqlite":
        if not os.path.isdir(os.path.dirname(url.path)):
            missing = os.path.dirname(url.path)
            raise Failed(f"database {url} cannot be used: {missing} is not a directory")
        rights.check_open(url.path, work.user, "the database")
    install.check_server(found.server)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
