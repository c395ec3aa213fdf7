"""Fill the table, write the configuration, start httpd, follow its logs.

It runs in the virtual environment: :mod:`~handlers.quickstart.__main__` starts it.
"""

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys

from handlers.database import url as database_url
from handlers.quickstart import cache, httpd, options, pictures, table
from handlers.quickstart.options import ENDS, Options
from handlers.quickstart.rights import Failed, is_owned, run_as
from handlers.quickstart.work import Work

_USER = "visitor"
_BLURRED = 120  # pictures that get a placeholder: those of the gallery's first two pages
_LEAST_LIMIT = 64  # children under load; a browser may open 20 connections, and there are others
_CHECK_LIMIT = 60  # seconds
_INTERRUPTED = 130  # exit status, as of a shell for SIGINT
_AGAIN = 1.0  # seconds after which an interrupt that nobody has met comes again


def main(descriptor: int, lock: int) -> int:
    """Serve what the Options say that can be read from *descriptor*; return the exit status.

    :param lock: descriptor that keeps other starts away; closed when httpd answers.
    """
    # httpd and tail must not inherit it
    os.set_inheritable(lock, False)
    with open(descriptor, encoding="utf-8") as pipe:
        found = options.from_json(pipe.read())
    work = Work(found.work)
    error_log_begins = _size(work.error_log)
    try:
        _end_as_by_interrupt()
        lines = _prepare(work, found)
        with _interrupts_held_back():
            httpd.start(work, httpd.environment(found.server))
        httpd.wait_until_answers(work, found.port, found.listen)
        os.close(lock)
        print("\n".join([*lines, *_checked(work)]))
        if found.action == "detach":
            _print_addresses(work)
            return 0
        access_log_begins = _size(work.access_log)
        print(f"Logs of {work.logs} follow; Ctrl-C stops the server.")
        _print_addresses(work)
        _follow(work, {work.error_log: error_log_begins, work.access_log: access_log_begins})
        return _ended(work)
    except Failed as error:
        _stop(work)
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if _stop(work):
            return _ended(work)
        print("quickstart: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _prepare(work: Work, found: Options) -> list[str]:
    """Make everything that httpd needs; return what to tell the user besides the addresses."""
    root = found.pictures or work.samples
    if found.pictures is None:
        pictures.make_samples(root)
    files, skipped = run_as(work.user, pictures.find, root)
    address = found.database or f"sqlite:///{work.database}"
    private, blur = _fill(work, found, address, root, files, skipped)
    pictures.make_error_picture(work.error_picture)
    work.write_settings(address, root, private, placeholder=blur)
    password = work.make_user(_USER)
    served = [str(database_url.parse(address)), root, private, blur]
    if work.recall("served") != served:
        run_as(work.user, cache.empty, work.cache)
        work.remember("served", served)
    if blur:
        _blur(work, address, files)
    rows, first = run_as(work.user, cache.refresh, work.settings)
    most = max(_LEAST_LIMIT, 2 * found.children)
    httpd.write_configuration(
        work, found.port, found.children, found.server, listen=found.listen, most=most
    )
    site = httpd.site(found.listen, found.port)
    addresses = [f"Thumbnail: {site}/thumbs/200x200/{first}.jpg"] if first else []
    work.remember("addresses", [*addresses, f"Gallery:   {site}/"])
    left_out = f"; skipped: {pictures.listed(skipped)}" if skipped else ""
    return [
        f"Pictures:  {rows} of {root}{left_out}",
        f"Sign in:   {_USER}, password {password}",
    ]


def _blur(work: Work, address: str, files: dict[str, str]) -> None:
    """Give the first pictures of the gallery their placeholders."""
    public = (id for id in sorted(files) if not pictures.is_private(files[id]))
    first = {id: files[id] for id in itertools.islice(public, _BLURRED)}
    made = run_as(work.user, cache.blurred, work.settings, first, work.recall("blurred") or {})
    work.remember("blurred", made)
    url = database_url.parse(address)
    texts = {id: made[path][1] for id, path in first.items() if path in made}
    run_as(_writer(work, url), table.put, url, texts)


def _writer(work: Work, url: database_url.URL):
    """Return the user who writes the table; None stands for this process's."""
    # root writes only where nobody else could exchange the file meanwhile
    places = (url.path, os.path.dirname(url.path)) if url.scheme == "sqlite" else ()
    return None if all(map(is_owned, places)) else work.user


def _fill(
    work: Work, found: Options, address: str, root: str, files: dict, skipped: dict
) -> tuple[str | None, str | None]:
    """Make the table hold *files* if it is ours.

    :return: its columns of what is private and of placeholders, as far as it has them.
    """
    url = database_url.parse(address)
    user = _writer(work, url)
    there = run_as(user, table.look, url)
    is_ours, has_private = there or (True, True)
    if not is_ours:
        if found.pictures is None:
            raise Failed(
                f"the table images of {url} was there before: give the folder that its paths are "
                f"relative to as PICTURES_DIR"
            )
        return "private" if has_private else None, None
    if not files:
        left_out = f"; skipped: {pictures.listed(skipped)}" if skipped else ""
        raise Failed(f"no pictures (JPEG, PNG, GIF, WebP, AVIF) below {root}{left_out}")
    run_as(user, table.fill, url, files)
    return "private", table.PLACEHOLDER


def _checked(work: Work) -> list[str]:
    """Return what ``modpython-handlers check`` has found: what is to be done, or one line."""
    command = [sys.executable, "-m", "handlers", "check", "--without-apache", "--json"]
    command += ["--settings", work.settings]
    try:
        # in a directory that does not hold another package of that name
        done = subprocess.run(command, capture_output=True, cwd="/", timeout=_CHECK_LIMIT)
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return [f"Check:     not done; type: modpython-handlers check --settings {work.settings}"]
    wrong = [row for row in found if not row["is_well"]]
    return [f"Check:     {row['part']}: {row['text']}" for row in wrong] or [
        f"Check:     all {len(found)} parts are well"
    ]


def _print_addresses(work: Work) -> None:
    print("\n".join(work.recall("addresses")), flush=True)


def _follow(work: Work, begins: dict[str, int]) -> None:
    """Show the logs until httpd has ended or nobody reads them any longer.

    :param begins: from which byte on, for each log.
    """
    tails: list[subprocess.Popen] = []
    try:
        with _interrupts_held_back():
            for path, place in begins.items():
                tails.append(subprocess.Popen(["tail", "-q", "-c", f"+{place + 1}", "-F", path]))
        pid = httpd.running(work)
        if pid:
            _wait(pid, tails)
    finally:
        for tail in tails:
            tail.terminate()
            tail.wait()


def _stop(work: Work) -> bool:
    """Stop httpd if it runs, and tell whether it did."""
    # a second Ctrl-C must not leave half of it running
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in ENDS:
        signal.signal(number, signal.SIG_IGN)
    if not httpd.running(work):
        return False
    httpd.stop(work)
    return True


def _ended(work: Work) -> int:
    """Tell that the server has ended, or that nobody has ended it; return the exit status."""
    if not _stop(work) and os.path.exists(work.pid_file):
        print(f"quickstart: httpd has ended by itself; see {work.error_log}", file=sys.stderr)
        return 1
    try:
        print("Stopped.", flush=True)
    except OSError:
        # the reader or the terminal is gone, and Python must not meet that again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _end_as_by_interrupt() -> None:
    """Let what asks a process to end do what Ctrl-C does, but what ``nohup`` and ``&`` ignore."""

    def end(number, frame):
        # where nobody can pass it on, as in a hook of os.fork(), Python drops the exception
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, end)
    for number in ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    # the program before this one has held them back
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


@contextlib.contextmanager
def _interrupts_held_back():
    """Let an interrupt wait for the end of a with block: what is half started cannot be stopped."""
    held_back = []
    before = {number: signal.getsignal(number) for number in (*ENDS, signal.SIGALRM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, frame: held_back.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held_back:
        raise KeyboardInterrupt


def _wait(pid: int, tails: list[subprocess.Popen]) -> None:
    """Return when httpd has ended, or nobody reads the logs any longer."""
    descriptors = [os.pidfd_open(pid)]
    try:
        descriptors += [os.pidfd_open(tail.pid) for tail in tails]
        select.select(descriptors, [], [])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
