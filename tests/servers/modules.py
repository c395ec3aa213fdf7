"""Versions of mod_wsgi that sites have: Debian's own, and those of PyPI.

None of them is installed: they lie beside the environment of the tests, and are fetched once.
"""

import pathlib
import subprocess
import sys

from handlers import locks
from handlers.quickstart import httpd

_KEPT = pathlib.Path(sys.prefix, "mod_wsgi-versions")
#: Version as Debian's package has it, or as PyPI has it, and "installed" for the environment's own.
NAMES = ("debian", "5.0.2", "installed")


def mod_wsgi(name: str) -> str:
    """Return the path of one of NAMES, a module for Apache.

    :raises subprocess.CalledProcessError: if it cannot be fetched or built.
    """
    if name == "installed":
        return httpd.mod_wsgi_location()
    directory = _KEPT / name
    directory.mkdir(parents=True, exist_ok=True)
    # another worker of pytest may be at it
    with locks.held(f"{directory}.lock", timeout=600):
        if not list(directory.rglob("mod_wsgi*.so*")):
            (_of_debian if name == "debian" else _of_pypi)(directory, name)
    return str(sorted(directory.rglob("mod_wsgi*.so*"))[-1])


def _of_debian(directory: pathlib.Path, name: str) -> None:
    _run(["apt-get", "download", "-q", "libapache2-mod-wsgi-py3"], directory)
    (package,) = directory.glob("*.deb")
    _run(["dpkg", "-x", package.name, "."], directory)


def _of_pypi(directory: pathlib.Path, name: str) -> None:
    # --no-cache-dir: pip takes a mod_wsgi that was built for another Python for the right one
    options = ("--no-cache-dir", "--no-deps", "--disable-pip-version-check", "-q")
    _run(
        [sys.executable, "-m", "pip", "install", *options, "--target", ".", f"mod_wsgi=={name}"],
        directory,
    )


def _run(command: list[str], directory: pathlib.Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
