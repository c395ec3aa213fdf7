"""One private httpd: its configuration, start, stop and first answer."""

import contextlib
import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping

from handlers.quickstart.work import Failed, Work, shipped

_BINARIES = ("apache2", "httpd")
_MODULE_DIRECTORIES = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
)
_MODULES = ("mpm_prefork", "unixd", "authz_core", "log_config", "alias", "env", "mime")
# Real mod_python and Apache work out paths from these, so nothing of the caller's is handed down.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_START_LIMIT = 30.0
_STOP_LIMIT = 20.0


def check_port(port: int) -> None:
    """Make sure that nobody listens on *port*.

    :raises Failed: if somebody does, or we may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except PermissionError:
            raise Failed(f"port {port} needs root; choose another with --port") from None
        except OSError:
            raise Failed(f"port {port} is in use; choose another with --port") from None


def write_configuration(
    work: Work,
    port: int,
    children: int,
    server: str,
    extra: str = "",
) -> None:
    """Write the configuration of a prefork httpd that includes the shipped drop-in.

    :param server: ``mod_wsgi`` or ``mod_python``.
    :param extra: directives to add at the end.
    """
    modules = _first_existing(_MODULE_DIRECTORIES)
    defines = {
        "HANDLERS_HOME": sys.prefix,
        "HANDLERS_MODULES": modules,
        "HANDLERS_ETC": work.etc,
    }
    if server == "mod_wsgi":
        defines["HANDLERS_MOD_WSGI"] = mod_wsgi_location()
        drop_in, level = "handlers.conf", "warn wsgi:info"
    else:
        drop_in, level = "handlers-mod_python.conf", "info"
    lines = [
        "# Made by apache_conf/quickstart, anew at each start.",
        f'ServerRoot "{work.directory}"',
        "ServerName localhost",
        f"Listen {port}",
        "PidFile run/httpd.pid",
        "DefaultRuntimeDir run",
        *(f"<IfModule !{name}_module>\n{_load(modules, name)}\n</IfModule>" for name in _MODULES),
        *((f"User {work.user.pw_name}", f"Group #{work.user.pw_gid}") if work.user else ()),
        f"StartServers {children}",
        f"MinSpareServers {children}",
        f"MaxSpareServers {children}",
        f"MaxRequestWorkers {children}",
        f"ServerLimit {children}",
        "MaxConnectionsPerChild 0",
        "Timeout 60",
        "KeepAlive On",
        # A browser keeps six connections, and each idle one keeps a child.
        "KeepAliveTimeout 1",
        "ErrorLog logs/error.log",
        f"LogLevel {level}",
        "TypesConfig /etc/mime.types",
        'DocumentRoot "htdocs"',
        "<Directory />\n    AllowOverride None\n    Require all denied\n</Directory>",
        f'<Directory "{work.documents}">\n    Require all granted\n</Directory>',
        *(f'Define {name} "{value}"' for name, value in defines.items()),
        f'Include "{shipped(drop_in)}"',
        site_part(work.settings, work.cache),
        "CustomLog logs/access.log handlers",
        extra,
    ]
    with open(work.configuration, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def site_part(settings: str, cache: str, thumbs: str = "/thumbs") -> str:
    """Return the directives of one site: the shipped site part with all that it can do.

    :param settings: the site's settings file.
    :param cache: its cache directory.
    :param thumbs: the URL of its thumbnails.
    """
    return f"""Define HANDLERS_SETTINGS "{settings}"
Define HANDLERS_CACHE "{cache}"
Define HANDLERS_THUMBS {thumbs}
Define HANDLERS_IMAGES /images
Define HANDLERS_GALLERY
Define HANDLERS_WEBP
Define HANDLERS_AVIF
Include "{shipped("handlers-site.conf")}\""""


def environment(server: str) -> dict[str, str]:
    """Return the environment that httpd gets in place of the caller's.

    mod_python finds the package by PYTHONPATH; the entry script of mod_wsgi has its own way.
    """
    if server == "mod_python":
        return {**_ENVIRONMENT, "PYTHONPATH": sysconfig.get_path("purelib")}
    return _ENVIRONMENT


def start(work: Work, environment: Mapping[str, str]) -> None:
    """Start httpd with the configuration written before.

    :raises Failed: if Apache refuses to start, with the last line it said.
    """
    _control(work, "start", environment)


def stop(work: Work) -> None:
    """Stop the httpd of this work directory and wait until it is gone.

    :raises Failed: if none runs there, or it does not end.
    """
    pid = running(work)
    if not pid:
        raise Failed(f"nothing runs in {work.directory}")
    # a child that hangs keeps the port, even when its parent has given up on it
    processes = [pid, *_children_of(pid)]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_LIMIT
    while any(_is_alive(process, work) for process in processes):
        if time.monotonic() > deadline:
            raise Failed(f"process {pid} has not ended within {_STOP_LIMIT:g} s")
        time.sleep(0.02)


def graceful(work: Work) -> None:
    """Let httpd read its configuration again and replace its children as they become idle."""
    _control(work, "graceful")


def running(work: Work) -> int | None:
    """Return the process id of the httpd that runs in this work directory, or None."""
    try:
        with open(work.pid_file, encoding="ascii") as file:
            pid = int(file.read())
    except (OSError, ValueError):
        return None
    return pid if _is_alive(pid, work) else None


def wait_until_answers(work: Work, port: int) -> None:
    """Wait until httpd answers a request.

    :raises Failed: if it ends, or says nothing for 30 seconds.
    """
    deadline = time.monotonic() + _START_LIMIT
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("HEAD", "/")
            connection.getresponse()
            return
        time.sleep(0.02)
    raise Failed(f"httpd does not answer; see {work.error_log}")


def _children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _is_alive(pid: int, work: Work) -> bool:
    """Tell whether *pid* is this work directory's httpd and not another program by now."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsencode(work.configuration) in file.read().split(b"\0")
    except OSError:
        return False


def _control(work: Work, command: str, environment: Mapping[str, str] = _ENVIRONMENT) -> None:
    done = subprocess.run(
        [_binary(), "-f", work.configuration, "-k", command],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip() or f"see {work.error_log}"
        raise Failed(f"Apache refuses to {command}: {said}")


def _binary() -> str:
    for name in _BINARIES:
        found = shutil.which(name, path=_ENVIRONMENT["PATH"])
        if found:
            return found
    raise Failed("Apache is not installed (Debian: apt install apache2)")


def _first_existing(directories: tuple[str, ...]) -> str:
    for directory in directories:
        if os.path.isdir(directory):
            return directory
    raise Failed("Apache's modules are in none of " + ", ".join(directories))


def _load(modules: str, name: str) -> str:
    return f"    LoadModule {name}_module {modules}/mod_{name}.so"


def mod_wsgi_location() -> str:
    """Return where this environment has mod_wsgi's module for Apache.

    :raises Failed: if it has none.
    """
    package = importlib.util.find_spec("mod_wsgi")
    if package is None or package.origin is None:
        raise Failed("mod_wsgi is not installed in this environment: pip install mod_wsgi")
    server = os.path.join(os.path.dirname(package.origin), "server")
    for name in sorted(os.listdir(server)):
        if name.endswith(".so"):
            return os.path.join(server, name)
    raise Failed(f"mod_wsgi was installed without its Apache module (none in {server})")
