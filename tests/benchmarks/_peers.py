"""Thumbnail servers that others would take, for the benchmark ``peers``, started as their users do.

Each is installed below a directory of its own from its public registry, once, and runs on loopback,
with one process for each core where it has such an option. Nothing outside of that directory
changes. A server that cannot be installed here is left out.
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
_PROCESSES = os.cpu_count() or 1
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
_DJANGO = """
import os
import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse
from django.urls import path

directory = os.environ["KEPT"]
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["easy_thumbnails"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": directory + "/db"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    MEDIA_ROOT=os.environ["PICTURES"],
    MEDIA_URL="/media/",
    THUMBNAIL_QUALITY=80,
)
django.setup()
from django.core.files.storage import FileSystemStorage
from easy_thumbnails.files import get_thumbnailer

thumbnails = FileSystemStorage(directory + "/thumbnails", "/thumbnails/")


def show(request, kind, side, name):
    thumbnailer = get_thumbnailer(name)
    thumbnailer.thumbnail_storage = thumbnails
    made = thumbnailer.get_thumbnail({"size": (side, side), "crop": kind == "crop"})
    return FileResponse(open(made.path, "rb"), content_type="image/jpeg")


urlpatterns = [path("<kind>/<int:side>/<name>", show)]
application = get_wsgi_application()
if __name__ == "__main__":
    call_command("migrate", verbosity=0)
"""
_PHP = """<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
list(, $kind, $side, $name) = explode('/', $path) + ['', '', 0, ''];
$source = getenv('PICTURES') . '/' . basename($name);
if (!is_file($source)) { http_response_code(404); exit; }
$kept = getenv('KEPT') . "/thumbnails/$kind-$side-" . basename($name) . '.jpg';
if (!is_file($kept)) {
    $picture = imagecreatefromstring(file_get_contents($source));
    $width = imagesx($picture); $height = imagesy($picture);
    if ($kind == 'crop') {
        $part = min($width, $height); $to = [$side, $side];
    } else {
        $scale = min(1, $side / $width, $side / $height);
        $to = [round($width * $scale), round($height * $scale)];
    }
    $from = $kind == 'crop' ? [$part, $part] : [$width, $height];
    $thumbnail = imagecreatetruecolor($to[0], $to[1]);
    $left = ($width - $from[0]) / 2; $upper = ($height - $from[1]) / 2;
    imagecopyresampled($thumbnail, $picture, 0, 0, $left, $upper, ...$to, ...$from);
    @mkdir(dirname($kept));
    imagejpeg($thumbnail, $kept . getmypid(), 80);
    rename($kept . getmypid(), $kept);
}
header('Content-Type: image/jpeg');
header('Content-Length: ' . filesize($kept));
readfile($kept);
"""
_NGINX = """
load_module {modules}/ngx_http_image_filter_module.so;
worker_processes {processes};
daemon off;
pid {kept}/pid;
error_log {kept}/errors;
events {{ }}
http {{
    access_log off;
    default_type image/jpeg;
    client_body_temp_path {kept}/body;
    fastcgi_temp_path {kept}/fastcgi;
    scgi_temp_path {kept}/scgi;
    uwsgi_temp_path {kept}/uwsgi;
    proxy_temp_path {kept}/proxy;
    proxy_cache_path {kept}/thumbnails keys_zone=thumbnails:10m;
    image_filter_buffer 128M;
    image_filter_jpeg_quality 80;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://unix:{kept}/socket;
            proxy_cache thumbnails;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 120s;
            proxy_read_timeout 120s;
        }}
    }}
    server {{
        listen unix:{kept}/socket;
        location ~ ^/fit/(\\d+)/(.+)$ {{
            alias {pictures}/$2;
            image_filter resize $1 $1;
        }}
        location ~ ^/crop/(\\d+)/(.+)$ {{
            alias {pictures}/$2;
            image_filter crop $1 $1;
        }}
    }}
}}
"""


class LeftOut(Exception):
    """Raised for a server that cannot be installed here; the message says why."""


class Peer(NamedTuple):
    """A running server: where its thumbnails are, and the processes that it consists of."""

    port: int
    #: The path of a thumbnail of the file *name*: ``path("fit", 200, name)``.
    path: Callable[[str, int, str], str]
    pids: Callable[[], list[int]]
    #: Makes all thumbnails cold again.
    forget: Callable[[], None]
    #: Whether it answers several requests on one connection.
    keeps_connections: bool = True


@contextlib.contextmanager
def thumbor(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run thumbor from PyPI, with its storage of results."""
    python = _environment(directory, "thumbor")
    settings, kept = directory / "thumbor.conf", _kept(directory)
    settings.write_text(
        f"LOADER = 'thumbor.loaders.file_loader'\nFILE_LOADER_ROOT_PATH = {str(pictures)!r}\n"
        "STORAGE = 'thumbor.storages.no_storage'\nALLOW_UNSAFE_URL = True\nQUALITY = 80\n"
        "RESULT_STORAGE = 'thumbor.result_storages.file_storage'\nAUTO_WEBP = False\n"
        "RESULT_STORAGE_STORES_UNSAFE = True\n"
        f"RESULT_STORAGE_FILE_STORAGE_ROOT_PATH = {str(kept)!r}\n"
    )

    def path(kind, side, name):
        size = f"{side}x{side}"
        return f"/unsafe/{size if kind == 'crop' else f'fit-in/{size}'}/filters:format(jpeg)/{name}"

    command = [python, "-m", "thumbor.server", "-c", settings, "-i", "127.0.0.1"]
    command += ["--processes", str(_PROCESSES)]
    with _running(lambda port: [*command, "-p", str(port)], {}) as (port, pids):
        yield Peer(port, path, pids, lambda: _empty(kept))


@contextlib.contextmanager
def express(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run express with sharp, from npm: a page of code, as most write it, which keeps nothing."""
    _npm(directory, "express", "sharp")
    (directory / "server.js").write_text(_EXPRESS)
    command = ["node", directory / "server.js"]
    with _running(lambda port: command, {"PICTURES": str(pictures)}) as (port, pids):
        yield Peer(port, _plain_path, pids, lambda: None)


@contextlib.contextmanager
def ipx(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run ipx from npm, which keeps nothing."""
    _npm(directory, "ipx")
    (directory / "server.mjs").write_text(_IPX)

    def path(kind, side, name):
        fit = "cover" if kind == "crop" else "inside"
        return f"/fit_{fit},s_{side}x{side},f_jpeg,q_80/{name}"

    command = ["node", directory / "server.mjs"]
    with _running(lambda port: command, {"PICTURES": str(pictures)}) as (port, pids):
        yield Peer(port, path, pids, lambda: None)


@contextlib.contextmanager
def easy_thumbnails(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run a page of Django with easy-thumbnails, from PyPI, in gunicorn."""
    python = _environment(directory, "django", "easy-thumbnails", "gunicorn")
    kept = _kept(directory)
    (directory / "site_of_thumbnails.py").write_text(_DJANGO)
    environment = {"PICTURES": str(pictures), "KEPT": str(directory)}
    _run([python, "site_of_thumbnails.py"], directory, environment)

    def command(port):
        options = ["-b", f"127.0.0.1:{port}", "-w", str(_PROCESSES), "-t", "120"]
        return [python, "-m", "gunicorn", *options, "--chdir", directory, "site_of_thumbnails"]

    with _running(command, environment) as (port, pids):
        yield Peer(port, _plain_path, pids, lambda: _empty(kept))


@contextlib.contextmanager
def php_gd(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run a page of PHP with its extension gd, from Debian, in PHP's own server."""
    root = _debian(directory, "php8.2-cli", "php8.2-gd")
    kept = _kept(directory)
    (directory / "thumbnail.php").write_text(_PHP)
    extension = next(root.glob("usr/lib/php/*/gd.so"), None)
    options = ["-n", "-d", f"extension={extension}", "-d", "memory_limit=1G"]
    environment = _libraries(root) | {
        "PICTURES": str(pictures),
        "KEPT": str(directory),
        "PHP_CLI_SERVER_WORKERS": str(_PROCESSES),
    }

    def command(port):
        served = ["-S", f"127.0.0.1:{port}", directory / "thumbnail.php"]
        return [root / "usr/bin/php8.2", *options, *served]

    with _running(command, environment) as (port, pids):
        yield Peer(port, _plain_path, pids, lambda: _empty(kept), keeps_connections=False)


@contextlib.contextmanager
def nginx(directory: Path, pictures: Path) -> Iterator[Peer]:
    """Run nginx with image_filter behind its own cache, from Debian.

    Its thumbnails have the format of their source.
    """
    root = _debian(directory, "nginx-core", "libnginx-mod-http-image-filter")
    kept = _kept(directory)
    modules = root / "usr/lib/nginx/modules"

    def command(port):
        settings = directory / "nginx.conf"
        settings.write_text(
            _NGINX.format(
                modules=modules,
                processes=_PROCESSES,
                kept=directory,
                port=port,
                pictures=pictures,
            )
        )
        return [root / "usr/sbin/nginx", "-e", directory / "errors", "-c", settings]

    # of a run that was killed
    (directory / "socket").unlink(missing_ok=True)
    with _running(command, _libraries(root)) as (port, pids):
        yield Peer(port, _plain_path, pids, lambda: _empty(kept))


def tree(pid: int) -> list[int]:
    """Return the process *pid* and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{one}/task"):
                text = Path(f"/proc/{one}/task/{thread}/children").read_text()
                found += map(int, text.split())
    return found


def _plain_path(kind: str, side: int, name: str) -> str:
    return f"/{kind}/{side}/{name}"


def _kept(directory: Path) -> Path:
    """Return an empty directory for thumbnails, which the user of any server may write."""
    kept = directory / "thumbnails"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    kept.chmod(0o777)
    return kept


def _empty(kept: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    # a server may be at writing into it
    while (paths := list(kept.iterdir())) and time.monotonic() < deadline:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _installed_once(directory: Path) -> Iterator[bool]:
    """Tell whether the block shall install something; once it has, it need not again."""
    mark = directory / "installed"
    if mark.exists():
        yield False
    else:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        yield True
        mark.touch()


def _environment(directory: Path, *packages: str) -> Path:
    """Install *packages* from PyPI; return the Python that has them."""
    python = directory / "environment" / "bin" / "python"
    with _installed_once(directory) as due:
        if due:
            _run([sys.executable, "-m", "venv", directory / "environment"])
            _run([python, "-m", "pip", "install", "-q", "--no-cache-dir", *packages])
    return python


def _npm(directory: Path, *packages: str) -> None:
    with _installed_once(directory) as due:
        if due:
            if shutil.which("npm") is None:
                raise LeftOut("npm is not installed (apt install npm)")
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], directory)


def _debian(directory: Path, *packages: str) -> Path:
    """Unpack *packages* of Debian and what they need; return the root that they are below."""
    root = directory / "root"
    with _installed_once(directory) as due:
        if due:
            archives = directory / "archives"
            (archives / "partial").mkdir(parents=True)
            options = ["-qq", "-y", "--no-install-recommends", "--download-only"]
            options += ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={archives}"]
            _run(["apt-get", *options, "install", *packages])
            for archive in archives.glob("*.deb"):
                _run(["dpkg", "-x", archive, root])
            if not root.exists():
                raise LeftOut(f"installed already, elsewhere: {', '.join(packages)}")
    return root


def _libraries(root: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))}


def _run(command, directory: Path | None = None, environment: dict | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=os.environ | (environment or {}),
            capture_output=True,
            timeout=_INSTALLING,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOut(str(error)) from error
    if done.returncode:
        raise LeftOut(done.stderr.decode(errors="replace").strip()[-200:])


@contextlib.contextmanager
def _running(command: Callable[[int], list], environment: dict[str, str]):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | environment | {"PORT": str(port)}
    try:
        process = subprocess.Popen(
            command(port),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise LeftOut(str(error)) from error
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
ALL = {
    "thumbor": thumbor,
    "express + sharp": express,
    "ipx": ipx,
    "easy-thumbnails": easy_thumbnails,
    "php-gd": php_gd,
    "nginx image_filter": nginx,
}
