"""The order of things: check, fill the table, write the configuration, start, tail the logs."""

import argparse
import os
import signal
import subprocess
import sys

from handlers import database_url
from handlers.quickstart import httpd, pictures, table
from handlers.quickstart.work import Failed, Work

_USER = "visitor"


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit status."""
    options = _options(arguments)
    work = Work(os.path.abspath(options.work))
    try:
        if options.stop:
            httpd.stop(work)
            print("Stopped.")
            return 0
        _start(work, options)
    except Failed as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    if options.detach:
        return 0
    return _tail(work)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="apache_conf/quickstart")
    parser.add_argument("pictures", nargs="?", metavar="PICTURES_DIR")
    parser.add_argument("--work", required=True)
    parser.add_argument("--venv")
    parser.add_argument("--port", type=_between(1, 65535), default=8080)
    parser.add_argument("--children", type=_between(1, 1000), default=8)
    parser.add_argument("--database", metavar="URL")
    parser.add_argument("--server", choices=("mod_wsgi", "mod_python"), default="mod_wsgi")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--stop", action="store_true")
    return parser.parse_args(arguments)


def _between(least: int, most: int):
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not between {least} and {most}")
        return value

    return number


def _start(work: Work, options: argparse.Namespace) -> None:
    running = httpd.running(work)
    if running:
        raise Failed(
            f"already running in {work.directory} (process {running}); "
            f"stop it with: apache_conf/quickstart --stop --work {work.directory}"
        )
    httpd.check_port(options.port)
    address = options.database or f"sqlite:///{work.database}"
    try:
        url = database_url.parse(address)
    except database_url.BadURL as error:
        raise Failed(str(error)) from None
    work.make()
    root = os.path.abspath(options.pictures) if options.pictures else work.samples
    if options.pictures is None:
        pictures.make_samples(root)
    pictures.check_readable(root, work.user)
    found = pictures.find(root)
    if not found:
        raise Failed(f"no pictures (JPEG, PNG, GIF, WebP) below {root}")
    ours = table.fill(url, found)
    work.write_settings(address, root, "private" if ours else None)
    password = work.make_user(_USER)
    httpd.write_configuration(work, options.port, options.children, options.server)
    httpd.start(work, httpd.environment(options.server))
    first = next((id for id, path in found.items() if not pictures.is_private(path)), "none")
    site = f"http://127.0.0.1:{options.port}"
    httpd.wait_until_answers(work, options.port)
    print(f"Gallery:   {site}/")
    print(f"Thumbnail: {site}/thumbs/200x200/{first}.jpg")
    print(f"Sign in:   {_USER}, password {password}", flush=True)


def _tail(work: Work) -> int:
    print(f"Logs of {work.directory}/logs follow; Ctrl-C stops the server.", flush=True)
    tail = subprocess.Popen(["tail", "-n", "+1", "-F", work.error_log, work.access_log])

    def end(signum, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        tail.wait()
    except KeyboardInterrupt:
        pass
    finally:
        tail.terminate()
        tail.wait()
        httpd.stop(work)
    print("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
