"""What lies in the cache beside public thumbnails: who can read it, and that no URL leads to it."""

import os
import pathlib
import stat

import pytest

from handlers import htpasswd
from tests.conftest import SERVERS, watched
from tests.servers.httpd import Httpd, make_images_table
from tests.servers.visitor import PASSWORD, Visitor
from tests.support import until

PRIVATE = "p005"


def sites(site_part, cache, documents):
    """The site itself and others, which publish the directory of the cache in every way."""
    granted = "Require all granted"
    return f"""
<VirtualHost *>
ServerName first.example
Alias /all {cache}
Alias /state {cache}/handlers-state
Alias /thumbs/x {cache}
{site_part}
</VirtualHost>
<VirtualHost *>
ServerName documents.example
DocumentRoot {documents}
<Directory {documents}>
Options Indexes
{granted}
</Directory>
</VirtualHost>
<VirtualHost *>
ServerName alias.example
Alias /all {cache}
Alias /one {cache}/handlers-state/lookup.snapshot
<Directory {cache}>
{granted}
</Directory>
</VirtualHost>
<VirtualHost *>
ServerName location.example
Alias /all {cache}
<Location />
{granted}
</Location>
</VirtualHost>
"""


@pytest.fixture(params=SERVERS)
def site(request, public_dir, pictures):
    """A site with a private picture and a snapshot, and other sites that cover its cache."""
    root, rows = pictures
    url = make_images_table(public_dir / "images.db", rows, (PRIVATE,))
    server = Httpd(public_dir / "site", request.param, url, root)
    work = server.work
    server.write_settings(url, root, "private", snapshot=True)
    users = pathlib.Path(work.users)
    users.write_text(f"ann:{htpasswd.encode(PASSWORD)}\n")
    users.chmod(0o644)
    server.edits[server.site_part] = sites(server.site_part, work.cache, work.directory)
    with server.stopped_at_the_end():
        yield from watched(server)


def filled(site):
    """Start the site, and make of everything something."""
    site.expect("client denied by server configuration")
    # the socket of a maker
    site.expect("AH00038: Forbidden: .*/handlers-state/maker-")
    site.expect("thumbnail 200x200/broken.jpg")
    site.start(warm=False)
    ann = Visitor(site)
    assert ann.sign_in().status == 303
    for size in ("200x200", "400x400", "200x200-crop"):
        for id in ("p001", PRIVATE, "large"):
            assert ann.ask(f"/thumbs/{size}/{id}.jpg").status == 200
    assert ann.ask("/thumbs/200x200/broken.jpg").status == 404
    until(lambda: os.path.exists(site.work.snapshot))


def state_of(site):
    return pathlib.Path(site.work.cache, "handlers-state")


def test_nobody_else_may_read_it(site):
    filled(site)
    state = state_of(site)
    paths = [state, *state.rglob("*")]
    names = {path.name for path in paths}
    assert {
        "lookup.snapshot",
        "lookup.snapshot.state",
        "stamp",
        "lock",
        "makers",
        "growth",
    } <= names
    assert {"private", "copies", "failures", "tmp", "p005.jpg", "large.jpg"} <= names
    for path in paths:
        try:
            found = path.lstat()
        except FileNotFoundError:
            # a child at work has removed or renamed it
            continue
        assert stat.S_IMODE(found.st_mode) == (0o700 if path.is_dir() else 0o600), path
        if os.geteuid() == 0:
            assert found.st_uid == site.work.user.pw_uid, path
    public = pathlib.Path(site.work.cache, "thumbs", "200x200", "p001.jpg")
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert stat.S_IMODE(public.parent.stat().st_mode) == 0o755
    assert not pathlib.Path(site.work.cache, "thumbs", "200x200", f"{PRIVATE}.jpg").exists()
    assert sorted(os.listdir(site.work.cache)) == ["handlers-state", "thumbs"]


def test_no_url_leads_there(site):
    filled(site)
    state = state_of(site)
    parts = [str(path.relative_to(state)) for path in state.rglob("*")] + ["", "nothing"]
    assert "private/200x200/p005.jpg" in parts and "lookup.snapshot" in parts
    for part in parts:
        for host, prefix in (
            ("first", "/all/handlers-state"),
            ("first", "/state"),
            ("first", "/thumbs/x/handlers-state"),
            ("first", "/thumbs/../all/handlers-state"),
            ("documents", "/cache/handlers-state"),
            ("alias", "/all/handlers-state"),
            ("location", "/all/handlers-state"),
        ):
            url = f"{prefix}/{part}"
            answer = site.request(url, headers={"Host": f"{host}.example"})
            assert answer.status == 403, (host, url)
    assert site.request("/one", headers={"Host": "alias.example"}).status == 403
    listing = site.request("/cache/handlers-state/", headers={"Host": "documents.example"})
    assert listing.status == 403
    # the rest of those sites is theirs
    for host, url in (("documents", "/httpd.conf"), ("alias", "/all/thumbs/200x200/p001.jpg")):
        assert site.request(url, headers={"Host": f"{host}.example"}).status == 200
