"""One private httpd: its configuration, start, stop and first answer."""

import contextlib
import errno
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping

from handlers.quickstart.rights import Failed
from handlers.quickstart.work import Work, shipped

_BINARIES = ("apache2", "httpd")
_MODULE_DIRECTORIES = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
)
_MODULES = (
    "mpm_prefork",
    "unixd",
    "authz_core",
    "authz_host",
    "log_config",
    "alias",
    "env",
    "mime",
    "reqtimeout",
)
# What a client may take to send a request, after which it does not keep a child any longer.
_REQUEST_TIMES = "header=10-20,MinRate=500 body=20,MinRate=500"
_WILDCARDS = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}
# Of documentation, RFC 5737 and RFC 3849: nothing is sent there, the kernel names the way.
_FAR_AWAY = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
# Real mod_python and Apache work out paths from these, so nothing of the caller's is handed down.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# httpd kills its children after nine seconds; a busy machine takes longer for everything
_START_LIMIT = 90.0
_STOP_LIMIT = 60.0


def check_port(address: str, port: int) -> None:
    """Make sure that nobody listens on *port* of the IP *address*.

    :raises Failed: if somebody does, or we may not, or the address is of another machine.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except PermissionError:
        raise Failed(f"port {port} needs root; choose another with --port") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failed(f"port {port} is in use; choose another with --port") from None
        raise Failed(f"{address} is no address of this machine; see --listen") from None


def site(address: str, port: int) -> str:
    """Return the URL at which a browser finds what listens there, without a slash at its end.

    For a server that listens on all addresses, it is one by which other machines reach this one.
    """
    host = _reachable(address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_configuration(
    work: Work,
    port: int,
    children: int,
    server: str,
    extra: str = "",
    listen: str = "127.0.0.1",
    most: int | None = None,
) -> None:
    """Write the configuration of a prefork httpd that includes the shipped drop-in.

    :param children: how many it starts with.
    :param server: ``mod_wsgi`` or ``mod_python``.
    :param extra: directives to add at the end.
    :param listen: IP address.
    :param most: children that it may have under load; None: no more than it starts with.
    """
    address = f"[{listen}]" if ":" in listen else listen
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
        "# apache_conf/quickstart writes this file at each start.",
        f'ServerRoot "{work.directory}"',
        "ServerName localhost",
        f"Listen {address}:{port}",
        "PidFile run/httpd.pid",
        "DefaultRuntimeDir run",
        *(f"<IfModule !{name}_module>\n{_load(modules, name)}\n</IfModule>" for name in _MODULES),
        *((f"User {work.user.pw_name}", f"Group #{work.user.pw_gid}") if work.user else ()),
        f"StartServers {children}",
        # Apache complains of too few children as soon as it may not start the spare ones.
        f"MinSpareServers {max(1, children // 2) if most else children}",
        f"MaxSpareServers {children}",
        f"ServerLimit {most or children}",
        f"MaxRequestWorkers {most or children}",
        "MaxConnectionsPerChild 0",
        "Timeout 60",
        "KeepAlive On",
        # A browser keeps six connections, and each idle one keeps a child.
        "KeepAliveTimeout 1",
        f"RequestReadTimeout {_REQUEST_TIMES}",
        "TraceEnable off",
        "ErrorLog logs/error.log",
        f"LogLevel {level}",
        "TypesConfig /etc/mime.types",
        'DocumentRoot "htdocs"',
        "<Directory />\n    AllowOverride None\n    Require all denied\n</Directory>",
        f'<Directory "{pattern(work.documents)}">\n    Require all granted\n</Directory>',
        *(f'Define {name} "{value}"' for name, value in defines.items()),
        f'Include "{pattern(shipped(drop_in))}"',
        site_part(work.settings, work.cache),
        "CustomLog logs/access.log handlers",
        extra,
    ]
    with open(work.configuration, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def site_part(settings: str, cache: str, thumbs: str = "/thumbs") -> str:
    """Return the directives of one site: the shipped site part with all its features.

    :param settings: the site's settings file.
    :param cache: its cache directory.
    :param thumbs: the URL of its thumbnails.
    """
    return f"""Define HANDLERS_SETTINGS "{settings}"
Define HANDLERS_CACHE "{cache}"
Define HANDLERS_CACHE_PATTERN "{pattern(cache)}"
Define HANDLERS_THUMBS {thumbs}
Define HANDLERS_IMAGES /images
Define HANDLERS_GALLERY
Define HANDLERS_STATUS
Define HANDLERS_WEBP
Define HANDLERS_AVIF
Include "{pattern(shipped("handlers-site.conf"))}\""""


def pattern(path: str) -> str:
    """Return *path* where Apache takes a pattern, as in <Directory> and Include.

    It takes a path without * ? [ as it stands, and a backslash is no help: that counts as one.
    """
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def environment(server: str) -> dict[str, str]:
    """Return the environment that httpd gets in place of the caller's.

    mod_python finds the package by PYTHONPATH; the entry script of mod_wsgi has its own way.
    """
    if server == "mod_python":
        return {**_ENVIRONMENT, "PYTHONPATH": sysconfig.get_path("purelib")}
    return _ENVIRONMENT


def start(work: Work, environment: Mapping[str, str]) -> None:
    """Start httpd with the configuration written before; return when it can be stopped.

    :raises Failed: if Apache refuses to start, with the last line it said.
    """
    _control(work, "start", environment)
    deadline = time.monotonic() + _START_LIMIT
    while not running(work):
        if time.monotonic() > deadline:
            raise Failed(f"httpd has ended at once; see {work.error_log}")
        time.sleep(0.01)


def stop(work: Work) -> None:
    """Stop the httpd of this work directory and wait until it is gone.

    :raises Failed: if none runs there, or it does not end.
    """
    pid = running(work)
    if not pid:
        raise Failed(f"nothing runs in {work.directory}")
    # a child that hangs keeps the port, even when its parent has given up on it
    processes = [pid, *_children_of(pid)]
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise Failed(f"process {pid} in {work.directory} is another user's") from None
    except ProcessLookupError:
        return
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


def wait_until_answers(work: Work, port: int, listen: str = "127.0.0.1") -> None:
    """Wait until httpd answers a request.

    :param listen: the IP address that it listens on.

    :raises Failed: if it ends, or says nothing for 90 seconds.
    """
    deadline = time.monotonic() + _START_LIMIT
    patience = 0.5
    while time.monotonic() < deadline:
        # asked again soon: on some virtual machines the first answer after a start gets lost
        connection = http.client.HTTPConnection(listen, port, timeout=patience)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("HEAD", "/")
            try:
                connection.getresponse()
                return
            except TimeoutError:
                patience *= 2
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
        [_required_binary(), "-f", work.configuration, "-k", command],
        env=environment,
        # Ctrl-C in the terminal is for the quickstart
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip() or f"see {work.error_log}"
        raise Failed(f"Apache refuses to {command}: {said}")


def binary() -> str | None:
    """Return the path of Apache's program, None if it is not installed."""
    for name in _BINARIES:
        found = shutil.which(name, path=_ENVIRONMENT["PATH"])
        if found:
            return found
    return None


def has_module(name: str) -> bool:
    """Tell whether Apache's module ``mod_<name>.so`` is installed."""
    return any(
        os.path.exists(os.path.join(directory, f"mod_{name}.so"))
        for directory in _MODULE_DIRECTORIES
    )


def _required_binary() -> str:
    found = binary()
    if found is None:
        raise Failed("Apache is not installed (Debian: apt install apache2)")
    return found


def _reachable(address: str) -> str:
    if address not in _WILDCARDS:
        return address
    for family in dict.fromkeys((_WILDCARDS[address], socket.AF_INET)):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_FAR_AWAY[family], 9))
            return probe.getsockname()[0]
    return "127.0.0.1"


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
