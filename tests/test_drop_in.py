"""The drop-in on a server that has other sites, too."""

import itertools
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
from PIL import Image

from handlers.quickstart import httpd
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, free_port, make_images_table

APACHE_CONF = pathlib.Path(__file__).parent.parent / "apache_conf"


def run(environment, *command):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


class Hosts(Httpd):
    """A server of two virtual hosts, a.example and b.example, with one database each."""

    def get(self, host, path):
        return self.request(path, headers={"Host": f"{host}.example"})

    def mark(self, host, id):
        form = {"Host": f"{host}.example", "Content-Type": "application/x-www-form-urlencoded"}
        return self.request("/favourites", "POST", form, f"id={id}&back=/")


@pytest.fixture(params=SERVERS)
def hosts(request, public_dir, pictures):
    """Both hosts have pictures 1 and 2; 2 is private on b.example only. There is no site beside."""
    root = pictures[0]
    url = make_images_table(public_dir / "a.db", {"1": "sub/p001.jpg", "2": "sub/p002.jpg"})
    server = Hosts(public_dir / "site", request.param, url, root)
    work = server.work
    other = make_images_table(
        public_dir / "b.db", {"1": "sub/p003.jpg", "2": "sub/p004.jpg"}, private=("2",)
    )
    text = pathlib.Path(work.settings).read_text()
    text = text.replace(url, f"{other}\nprivate = private").replace(work.cache, f"{work.cache}-b")
    settings = pathlib.Path(work.etc, "b.ini")
    settings.write_text(text.replace("200x200 400x400", "100x100 400x400"))
    documents = public_dir / "documents"
    documents.mkdir(mode=0o755)
    (documents / "index.html").write_text("home")
    cache_b = pathlib.Path(f"{work.cache}-b")
    cache_b.mkdir()
    for path in (settings, cache_b):
        shutil.chown(path, *(("www-data", "www-data") if os.geteuid() == 0 else (os.getuid(),)))
    granted = f'DocumentRoot "{documents}"\n<Directory "{documents}">\nRequire all granted\n'
    granted += "</Directory>\n"
    dir_module = "LoadModule dir_module ${HANDLERS_MODULES}/mod_dir.so\nDirectoryIndex index.html"
    parts = (
        ("a", httpd.site_part(work.settings, work.cache)),
        ("b", httpd.site_part(str(settings), str(cache_b), "/small")),
        ("c", ""),
    )
    server.edits[server.site_part] = dir_module + "".join(
        f"\n<VirtualHost *>\nServerName {name}.example\n{granted}{part}\n</VirtualHost>"
        for name, part in parts
    )
    with server.stopped_at_the_end():
        yield from watched(server)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("server", SERVERS)
def test_site_runs_where_paths_have_blanks_and_its_part_is_read_twice(
    server, times, public_dir, pictures
):
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows)
    site = Httpd(public_dir / "my first site", server, url, root)
    site.edits[site.site_part] = "\n".join([site.site_part] * times)
    with site.stopped_at_the_end():
        for _ in watched(site):
            site.start()
            assert site.request("/thumbs/200x200/p001.jpg").status == 200
            assert pathlib.Path(site.work.cache, "thumbs/200x200/p001.jpg").exists()
            webp = site.request("/thumbs/200x200/p001", headers={"Accept": "image/webp"})
            assert webp.headers["Content-Type"] == "image/webp"
            assert site.request("/thumbs/../lookup.snapshot").status == 404
            assert site.request("/images/p001").status == 200
            assert site.request("/").status == 200


def test_two_hosts_keep_apart_what_is_theirs(hosts):
    hosts.start(warm=False)
    a, b = hosts.get("a", "/thumbs/400x400/1.jpg"), hosts.get("b", "/small/400x400/1.jpg")
    assert (a.status, b.status) == (200, 200)
    assert a.body != b.body
    # again, from the cache
    assert hosts.get("a", "/thumbs/400x400/1.jpg").body == a.body
    assert hosts.get("b", "/small/400x400/1.jpg").body == b.body
    assert hosts.get("a", "/thumbs/400x400/2.jpg").status == 200
    assert hosts.get("b", "/small/400x400/2.jpg").status == 404
    assert hosts.get("a", "/thumbs/200x200/1.jpg").status == 200
    assert hosts.get("b", "/small/200x200/1.jpg").status == 404
    assert hosts.get("b", "/small/100x100/1.jpg").status == 200
    assert hosts.get("a", "/images/2").status == 200
    assert hosts.get("b", "/images/2").status == 404
    assert b'"/small/100x100/1.jpg"' in hosts.get("b", "/").body
    assert hosts.get("b", "/thumbs/400x400/1.jpg").status == 404


def test_status_of_each_host_is_its_own(hosts):
    hosts.expect("thumbnail 100x100/gone.jpg")
    with sqlite3.connect(pathlib.Path(hosts.work.directory).parent / "b.db") as connection:
        connection.execute("INSERT INTO images VALUES ('gone', 'sub/gone.jpg', 0)")
    connection.close()
    hosts.start(warm=False)
    # in turns, as one child answers for both
    for size in ("200x200", "400x400"):
        assert hosts.get("a", f"/thumbs/{size}/1.jpg").status == 200
    for id, status in (("1", 200), ("gone", 404), ("none", 404)):
        assert hosts.get("b", f"/small/100x100/{id}.jpg").status == status
    # each begins a session
    assert [hosts.mark(name, "1").status for name in "abb"] == [303] * 3

    a, b = (json.loads(hosts.get(name, "/handlers-status?format=json").body) for name in "ab")
    names = ("thumbnails_made", "thumbnails_refused", "sessions_begun")
    assert [a["totals"][name] for name in names] == [2, 0, 1]
    assert [b["totals"][name] for name in names] == [1, 1, 2]
    assert sum(a["hour"]["thumbnails_made"]) == 2 and sum(b["hour"]["thumbnails_made"]) == 1
    assert b["totals"]["lookup_missing"] >= 1 and not a["totals"]["lookup_missing"]
    assert (a["making"]["median"], b["making"]["median"]) != (None, None)
    assert a["notices"] == [] and "sub/gone.jpg" in b["notices"][0]["text"]
    assert {child["pid"] for child in b["children"]} <= set(hosts.child_pids())
    requests = [sum(child["requests"] for child in found["children"]) for found in (a, b)]
    assert requests[1] >= 6 and requests[0] >= 4
    for name, found, made in (("a", a, 2), ("b", b, 1)):
        page = hosts.get(name, "/handlers-status").body.decode()
        assert f"The site with {found['settings']} and the cache" in page
        metrics = hosts.get(name, "/handlers-metrics").body.decode()
        assert f"modpython_handlers_thumbnails_made_total {made}\n" in metrics
        assert (
            f'modpython_handlers_thumbnail_making_seconds_bucket{{le="+Inf"}} {made}\n' in metrics
        )
        health = json.loads(hosts.get(name, "/handlers-health").body)
        assert health["status"] == "well", health


def test_outage_of_one_host_is_told_once_while_the_other_works(hosts):
    settings = pathlib.Path(hosts.work.etc, "b.ini")
    text = re.sub(r"(?m)^root = .*", "root = /nowhere/at/all", settings.read_text())
    settings.write_text(text)
    hosts.expect("images.root /nowhere/at/all: no such directory")
    hosts.start(warm=False)
    for size, id, ext in itertools.product(("200x200", "400x400"), "12", ("jpg", "webp", "png")):
        assert hosts.get("a", f"/thumbs/{size}/{id}.{ext}").status == 200
        assert hosts.get("b", "/small/100x100/1.jpg").status == 503
    # a child, and the one that looks at its start
    told = re.findall(r"\[pid (\d+).*images\.root /nowhere/at/all", hosts.log())
    assert len(told) <= hosts.children + 1 and len(set(told)) >= 1


def test_site_part_in_a_virtual_host_takes_nothing_from_another(hosts):
    hosts.start(warm=False)
    for path in ("/thumbs/400x400/1.jpg", "/small/400x400/1.jpg", "/images/1", "/favourites"):
        assert hosts.get("c", path).status == 404
    assert hosts.get("c", "/").body == b"home"


def test_gallery_comes_before_an_index_of_the_document_root(hosts):
    hosts.start(warm=False)
    assert b"<title>Pictures" in hosts.get("a", "/").body
    assert hosts.get("a", "/index.html").body == b"home"


@pytest.mark.parametrize("server", SERVERS)
def test_names_are_utf_8_whatever_the_locale(server, public_dir):
    """Debian's envvars say LANG=C."""
    root = public_dir / "Bilder/Ærø-Fähre"
    root.mkdir(parents=True)
    names = {"a": "Größe.jpg", "b": "京都/京都.jpg", "c": "caf\udce9.jpg"}
    for name in names.values():
        (root / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (300, 200), "teal").save(
            os.path.join(os.fsencode(root), os.fsencode(name))
        )
    rows = {id: os.fsencode(name) for id, name in names.items()}
    url = make_images_table(public_dir / "images.db", rows)
    site = Httpd(public_dir / "site", server, url, root, snapshot=True)
    site.environment = {"LANG": "C"}
    with site:
        for id in names:
            assert site.request(f"/thumbs/200x200/{id}.jpg").status == 200, site.log(0)
            assert site.request(f"/images/{id}").status == 200, site.log(0)
        site.begin_test()
    assert not site.complaints()


def test_entry_script_serves_handlers_of_others_without_settings(public_dir):
    """Nothing but WSGIHandlerScript, SetHandler and SetEnv, in an httpd.conf of the test's own."""
    entry = public_dir / "entry"
    code = public_dir / "code"
    for directory in (entry, code, public_dir / "logs", public_dir / "run"):
        directory.mkdir()
    shutil.copy(APACHE_CONF / "handlers.wsgi", entry)
    (code / "hello.py").write_text(
        "from mod_python import apache\n\n\ndef handler(req):\n"
        "    req.content_type = 'text/plain'\n    req.write('Hello, ' + req.get_options()['who'])\n"
        "    return apache.OK\n"
    )
    port = free_port()
    modules = "/usr/lib/apache2/modules"
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    conf = public_dir / "httpd.conf"
    conf.write_text(
        f"ServerRoot {public_dir}\nServerName localhost\nListen 127.0.0.1:{port}\n{user}"
        f"PidFile run/pid\nDefaultRuntimeDir run\nErrorLog logs/error.log\n"
        f"LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so\n"
        f"LoadModule authz_core_module {modules}/mod_authz_core.so\n"
        f"LoadModule env_module {modules}/mod_env.so\n"
        f"LoadModule wsgi_module {httpd.mod_wsgi_location()}\nWSGIPythonHome {sys.prefix}\n"
        f"WSGIHandlerScript mod_python {entry}/handlers.wsgi application-group=%{{GLOBAL}}\n"
        f"<Location /hello>\nSetHandler mod_python\nSetEnv PythonHandler hello\n"
        f"SetEnv PythonPath \"['{code}'] + sys.path\"\nSetEnv PythonOption.who world\n</Location>\n"
    )
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    assert run(environment, "apache2", "-f", str(conf), "-k", "start")[0] == 0
    try:
        wanted = f"http://127.0.0.1:{port}/hello"
        status, said = run(
            environment, "curl", "-sS", "--retry-connrefused", "--retry", "9", wanted
        )
        assert (status, said) == (0, "Hello, world")
    finally:
        assert run(environment, "apache2", "-f", str(conf), "-k", "stop")[0] == 0
