"""What must be on the machine before anything can be served: Debian's packages, the handlers.

It runs on the system's Python and needs nothing but the standard library.
"""

import configparser
import filecmp
import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from handlers.quickstart import httpd
from handlers.quickstart.rights import Failed, check_entry, check_owned

PYTHON = "/usr/bin/python3"
_MOD_PYTHON = "libapache2-mod-python"
_SOURCES = ("handlers", "apache_conf", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
# run by the Python of a virtual environment
_ASK = """\
import importlib.metadata, json, sys, sysconfig
found = {one.name: one.version for one in importlib.metadata.distributions()}
print(json.dumps([sys.prefix, sysconfig.get_path("purelib"), found]))
"""


class Site(NamedTuple):
    """What a virtual environment says of itself: where it is, and which packages it has."""

    prefix: str
    packages: str
    versions: dict[str, str]


def check_server(server: str) -> None:
    """Make sure that the *server* that was asked for is installed, or can be.

    :raises Failed: if this release of the distribution has none.
    """
    if server != "mod_python" or httpd.has_module("python"):
        return
    if shutil.which("apt-cache"):
        if not _is_known("apache2-bin") and os.geteuid() == 0:
            # a bare system has no package lists yet
            subprocess.run(["apt-get", "update", "-q"], env=_apt(), capture_output=True)
        if _is_known(_MOD_PYTHON):
            return
    raise Failed(f"mod_python is not available on {_system()}: use --server mod_wsgi, the default")


def packages(server: str, venv: str, checkout: str) -> list[str]:
    """Return the names of Debian's packages that are needed and not installed."""
    missing = []
    if not httpd.binary():
        missing += ["apache2-bin", "media-types"]
    if server == "mod_python" and not httpd.has_module("python"):
        missing.append(_MOD_PYTHON)
    if not is_current(venv, checkout):
        include = sysconfig.get_path("include")
        for package, is_there in (
            ("python3-venv", _succeeds([PYTHON, "-I", "-c", "import ensurepip"])),
            ("apache2-dev", bool(shutil.which("apxs") or shutil.which("apxs2"))),
            ("gcc", bool(shutil.which("cc"))),
            ("libc6-dev", bool(shutil.which("cc"))),
            ("python3-dev", os.path.exists(os.path.join(include, "Python.h"))),
        ):
            if not is_there:
                missing.append(package)
    return missing


def install_packages(names: list[str], log: str) -> None:
    """Install Debian packages.

    :param log: file that gets what apt-get says.
    :raises Failed: if that fails, or this user may not do it.
    """
    if not names:
        return
    if os.geteuid() != 0:
        raise Failed(f"not installed: {' '.join(names)}; run this once as root, or install them")
    if not shutil.which("apt-get"):
        raise Failed(f"not installed: {' '.join(names)} (Debian's names)")
    print(f"Installing {' '.join(names)}", flush=True)
    update = ["apt-get", "update", "-q"]
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    for command in (update, install):
        _run(command, log, _apt())


def is_current(venv: str, checkout: str) -> bool:
    """Tell whether *venv* has the handlers as they are in *checkout*, and what they require."""
    site = _site(venv)
    if site is None:
        return False
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(os.path.join(checkout, "setup.cfg"), encoding="utf-8")
    if not all(
        _is_met(requirement, site.versions)
        for requirement in setup.get("options", "install_requires").split("\n")
        if requirement
    ):
        return False
    return all(
        os.path.isfile(source)
        and os.path.isfile(installed)
        and filecmp.cmp(source, installed, shallow=False)
        for source, installed in _installed_files(checkout, site, setup)
    )


def install_handlers(venv: str, checkout: str, log: str) -> None:
    """Make the virtual environment *venv* if need be, and install *checkout* into it.

    :param log: file that gets what pip says.
    :raises Failed: if that fails.
    """
    print(f"Installing the handlers into {venv}", flush=True)
    site = _site(venv)
    if site is None or "pip" not in site.versions:
        _run([PYTHON, "-I", "-m", "venv", venv], log)
    # a copy, because building leaves files beside the sources
    with tempfile.TemporaryDirectory() as directory:
        for name in _SOURCES:
            source = os.path.join(checkout, name)
            if os.path.isdir(source):
                leave_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, os.path.join(directory, name), ignore=leave_out)
            else:
                shutil.copy(source, directory)
        # no cache: pip takes a mod_wsgi wheel that was built for another Python for the right one
        pip = [python(venv), "-I", "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--no-cache-dir", directory], log)
    if not is_current(venv, checkout):
        raise Failed(f"{venv} does not hold what was installed into it; see {log}")


def check_venv(venv: str) -> None:
    """Make sure that nobody but root and the caller can change what *venv* runs.

    :raises Failed: if somebody else could.
    """
    what = "the virtual environment"
    check_owned(venv, what)
    for directory, folders, files in os.walk(venv):
        for name in (*folders, *files):
            check_entry(os.path.join(directory, name), f"{what} {venv}")


def python(venv: str) -> str:
    """Return the path of the Python in *venv*."""
    return os.path.join(venv, "bin", "python")


def _installed_files(
    checkout: str, site: Site, setup: configparser.ConfigParser
) -> Iterator[tuple[str, str]]:
    """Yield (source, installed file) of all that belongs to the package, stale modules too."""
    ours, theirs = os.path.join(checkout, "handlers"), os.path.join(site.packages, "handlers")
    for name in _modules(ours) | _modules(theirs):
        yield os.path.join(ours, name), os.path.join(theirs, name)
    for directory, names in setup.items("options.data_files"):
        for name in names.split():
            installed = os.path.join(site.prefix, directory, os.path.basename(name))
            yield os.path.join(checkout, name), installed


def _modules(directory: str) -> set[str]:
    return set(glob.glob("**/*.py", root_dir=directory, recursive=True))


def _is_met(requirement: str, versions: dict[str, str]) -> bool:
    """Tell whether a line of install_requires, a name and perhaps ``>=`` a version, holds."""
    found = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([0-9.]+))?", requirement)
    installed = versions.get(_plain(found[1]))
    return installed is not None and _numbers(installed) >= _numbers(found[2] or "0")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.match("[0-9.]*", version)[0].split(".") if number]


def _plain(name: str) -> str:
    return re.sub("[-_.]+", "_", name).lower()


def _site(venv: str) -> Site | None:
    """Ask the Python of *venv*; None if there is none that runs."""
    try:
        done = subprocess.run(
            [python(venv), "-I", "-c", _ASK], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    prefix, purelib, versions = json.loads(done.stdout)
    return Site(prefix, purelib, {_plain(name): version for name, version in versions.items()})


def _run(command: list[str], log: str, environment: dict[str, str] | None = None) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment
            )
        except OSError as error:
            raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Failed(f"{' '.join(command[:2])} failed, see {log}")


def _apt() -> dict[str, str]:
    return {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}


def _is_known(package: str) -> bool:
    """Tell whether apt has a version of *package* to install."""
    done = subprocess.run(
        ["apt-cache", "policy", package],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    candidate = re.search(r"(?m)^ *Candidate: (\S+)", done.stdout)
    return candidate is not None and candidate[1] != "(none)"


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _system() -> str:
    """Return the name and release of the distribution, as in ``Debian 13``."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "this system"
    name = release["NAME"].removesuffix(" GNU/Linux")
    return " ".join([name, release.get("VERSION_ID", "")]).strip()
