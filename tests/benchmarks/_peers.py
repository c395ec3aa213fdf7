"""Thumbnail servers that others would take, for the benchmark ``peers``, started as their users do.

Each is installed below one directory from its public registry, on loopback, with one process for
each core where it has such an option. A server that cannot be installed here is left out.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_PATIENCE = 60.0
_INSTALLING = 600.0
_EXPRESS = """
const sharp = require('sharp');
sharp.cache(false);
const app = require('express')();
app.get('/:kind/:side/:name', async (request, response) => {
  const side = Number(request.params.side);
  const crop = request.params.kind === 'crop';
  const data = await sharp(process.env.PICTURES + '/' + request.params.name)
    .rotate()
    .resize({ width: side, height: side, fit: crop ? 'cover' : 'inside', withoutEnlargement: true })
    .jpeg({ quality: 80 })
    .toBuffer();
  response.type('image/jpeg').send(data);
});
app.listen(Number(process.env.PORT), '127.0.0.1');
"""
_IPX = """
import { createServer } from 'node:http';
import { createIPX, createIPXNodeServer, ipxFSStorage } from 'ipx';
const ipx = createIPX({ storage: ipxFSStorage({ dir: process.env.PICTURES }) });
createServer(createIPXNodeServer(ipx)).listen(Number(process.env.PORT), '127.0.0.1');
"""


class LeftOut(Exception):
    """Raised for a server that cannot be installed here; the message says why."""


class Peer(NamedTuple):
    """A running server: where its thumbnails are, and the processes that it consists of."""

    port: int
    #: The path of a thumbnail of the file *name*: ``path("fit", 200, name)``.
    path: Callable[[str, int, str], str]
    pids: Callable[[], list[int]]


@contextlib.contextmanager
def thumbor(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run thumbor from PyPI, in an environment of its own."""
    python = directory / "thumbor" / "bin" / "python"
    _run([sys.executable, "-m", "venv", directory / "thumbor"])
    _run([python, "-m", "pip", "install", "-q", "thumbor"])
    settings = directory / "thumbor.conf"
    settings.write_text(
        f"LOADER = 'thumbor.loaders.file_loader'\nFILE_LOADER_ROOT_PATH = {str(pictures)!r}\n"
        "STORAGE = 'thumbor.storages.no_storage'\nALLOW_UNSAFE_URL = True\nQUALITY = 80\n"
        "AUTO_WEBP = False\n"
    )

    def path(kind, side, name):
        size = f"{side}x{side}"
        return f"/unsafe/{size if kind == 'crop' else f'fit-in/{size}'}/{name}"

    command = [python, "-m", "thumbor.server", "-c", settings, "-i", "127.0.0.1"]
    with _running(lambda port: [*command, "-p", str(port)], {}) as (port, pids):
        yield Peer(port, path, pids)


@contextlib.contextmanager
def express(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run express with sharp, from npm: a page of code, as most write it."""
    _npm(directory / "express", "express", "sharp")
    (directory / "express" / "server.js").write_text(_EXPRESS)
    command = ["node", directory / "express" / "server.js"]
    with _running(lambda port: command, {"PICTURES": str(pictures)}) as (port, pids):
        yield Peer(port, lambda kind, side, name: f"/{kind}/{side}/{name}", pids)


@contextlib.contextmanager
def ipx(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run ipx from npm."""
    _npm(directory / "ipx", "ipx")
    (directory / "ipx" / "server.mjs").write_text(_IPX)

    def path(kind, side, name):
        fit = "cover" if kind == "crop" else "inside"
        return f"/fit_{fit},s_{side}x{side},f_jpeg,q_80/{name}"

    command = ["node", directory / "ipx" / "server.mjs"]
    with _running(lambda port: command, {"PICTURES": str(pictures)}) as (port, pids):
        yield Peer(port, path, pids)


def tree(pid: int) -> list[int]:
    """Return the process *pid* and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{one}/task/{one}/children").read_text()
            found += map(int, text.split())
    return found


def _npm(directory: Path, *packages: str) -> None:
    if shutil.which("npm") is None:
        raise LeftOut("npm is not installed (apt install npm)")
    directory.mkdir()
    _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], directory)


def _run(command, directory: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, timeout=_INSTALLING)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOut(str(error)) from error
    if done.returncode:
        raise LeftOut(done.stderr.decode(errors="replace").strip()[-200:])


@contextlib.contextmanager
def _running(command: Callable[[int], list], environment: dict[str, str]):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | environment | {"PORT": str(port)}
    process = subprocess.Popen(
        command(port),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        yield port, lambda: tree(process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise LeftOut("it does not answer")


#: Name -> how it is installed and run.
ALL = {"thumbor": thumbor, "express + sharp": express, "ipx": ipx}
