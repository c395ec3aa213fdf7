"""``modpython-handlers setup`` and ``uninstall`` on private copies of Debian's configuration."""

import getpass
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import sysconfig

import pytest

from handlers.commands import generated
from tests.support import restart

# they need packages of Debian's, or make environments
pytestmark = pytest.mark.server

ROOT = pathlib.Path(__file__).parent.parent
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files to other users")
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Tree:
    """A configuration of Apache's, one of ours, and the places that its settings name."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.apache = directory / "apache2"
        self.etc = directory / "etc"
        self.cache = directory / "cache"
        self.settings = self.etc / "settings.ini"
        self.server = self.apache / "conf-available" / "handlers.conf"
        self.site = self.apache / "conf-available" / "handlers-site.conf"
        shutil.copytree("/etc/apache2", self.apache, symlinks=True)
        for path in self.apache.glob("*/*"):
            if path.name.startswith(("python.", "wsgi.", "handlers")) or (
                path.name == "headers.load" and path.parent.name == "mods-enabled"
            ):
                path.unlink()
        (self.apache / "envvars").write_text(
            "export APACHE_RUN_USER=www-data APACHE_RUN_GROUP=www-data\n"
            f"export APACHE_LOG_DIR={directory}\n"
        )
        default = self.apache / "sites-enabled" / "000-default.conf"
        text = default.read_text().replace("/var/www/html", f"{directory}/html")
        default.unlink()
        default.write_text(text)
        (directory / "html").mkdir()
        self.etc.mkdir()
        self.write_settings(self.settings, self.cache)

    def write_settings(self, path, cache, more=""):
        path.write_text(
            f"[lookup]\ndatabase = sqlite:///{self.directory}/images.db\n"
            f"snapshot = {cache}/lookup.snapshot\n[thumbnail]\ncache = {cache}\n"
            f"sizes = 200x200\n{more}\n"
        )

    def command(self, *arguments, python=sys.executable, **environment):
        user = () if IS_ROOT or arguments[0] != "setup" else ("--user", getpass.getuser())
        places = ("--apache", str(self.apache), "--etc", str(self.etc))
        return subprocess.run(
            [python, "-m", "handlers", *arguments, *places, *user],
            capture_output=True,
            text=True,
            cwd="/",
            env=PLAIN | environment,
        )

    def setup(self, *arguments, **options):
        done = self.command("setup", "--json", *arguments, **options)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def refusal(self, *arguments, **options):
        """Return the one sentence with which setup refuses; nothing may have been written."""
        before = self.files()
        done = self.command("setup", *arguments, **options)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert done.stderr.startswith("modpython-handlers: ") and done.stderr.count("\n") == 1
        assert self.files() == before
        return done.stderr

    def files(self):
        return {
            path: (path.lstat().st_uid, path.read_bytes() if path.is_file() else None)
            for path in self.directory.rglob("*")
        }

    def load(self, name, module):
        path = self.apache / "mods-enabled" / f"{name}.load"
        path.write_text(f"LoadModule {name}_module {module}\n")


@pytest.fixture
def tree(public_dir):
    return Tree(public_dir)


def actions(values):
    return {pathlib.Path(file["path"]).name: file["action"] for file in values["files"]}


def test_setup_writes_what_is_missing_and_says_what_to_type(tree):
    values = tree.setup()
    assert actions(values) == {
        "handlers.conf": "written",
        "handlers-site.conf": "written",
        "settings.ini": "kept",
        "handlers.wsgi": "written",
    }
    assert values["next"] == [
        "a2enmod headers",
        "a2enconf handlers handlers-site",
        "apachectl configtest",
        restart("apache2"),
        f"tail -f {tree.directory}/error.log",
    ]
    assert values["include"] == "Include conf-available/handlers-site.conf"
    assert f"Define HANDLERS_ETC {tree.etc}\n" in tree.server.read_text()
    assert f"Define HANDLERS_CACHE {tree.cache}\n" in tree.site.read_text()
    assert f"Define HANDLERS_SETTINGS {tree.settings}\n" in tree.site.read_text()
    assert "\n#Define HANDLERS_IMAGES" in tree.site.read_text()
    assert tree.cache.is_dir()
    if IS_ROOT:
        assert tree.cache.stat().st_uid == 33


def test_setup_again_changes_nothing_and_asks_for_nothing_that_is_done(tree):
    tree.setup()
    environment = PLAIN | {"APACHE_CONFDIR": str(tree.apache)}
    for command in (("a2enmod", "headers"), ("a2enconf", "handlers", "handlers-site")):
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    before = tree.files()
    values = tree.setup()
    assert set(actions(values).values()) == {"unchanged", "kept"}
    assert values["next"][0] == "apachectl configtest"
    assert tree.files() == before


def test_dry_run_shows_all_and_writes_nothing(tree):
    tree.settings.unlink()
    tree.etc.rmdir()
    before = tree.files()
    done = tree.command("setup", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert tree.files() == before
    for text in (f"written    {tree.server}", "    | Define HANDLERS_THUMBS /thumbs", "a2enconf"):
        assert text in done.stdout


def test_edited_file_is_kept_and_a_new_text_lies_beside_it(tree):
    tree.setup()
    edited = tree.site.read_text().replace("#Define HANDLERS_GALLERY", "Define HANDLERS_GALLERY")
    tree.site.write_text(edited)
    assert actions(tree.setup())["handlers-site.conf"] == "kept"
    assert not tree.site.with_name("handlers-site.conf.new").exists()
    tree.write_settings(tree.settings, tree.cache, "url = /small")
    done = tree.command("setup")
    assert tree.site.read_text() == edited
    assert (
        "Define HANDLERS_THUMBS /small" in tree.site.with_name(f"{tree.site.name}.new").read_text()
    )
    lines = [line for line in done.stdout.splitlines() if "you have edited it" in line]
    assert len(lines) == 1 and lines[0].endswith(f"the new text is {tree.site}.new")


def test_file_of_somebody_elses_is_never_overwritten(tree):
    tree.server.write_text("# my own handlers.conf\n")
    assert actions(tree.setup())["handlers.conf"] == "beside"
    assert tree.server.read_text() == "# my own handlers.conf\n"


def test_setup_after_an_upgrade_of_python_mends_the_paths(tree):
    tree.setup()
    now = tree.server.read_text().partition("\n")[2]
    old = now.replace("py311", "py39").replace("python3.11", "python3.9")
    old = old.replace(sysconfig.get_path("platlib"), "/opt/modpython-handlers/lib/python3.9")
    assert old != now
    generated.write(generated.File(str(tree.server), old), str(tree.server))
    assert actions(tree.setup())["handlers.conf"] == "updated"
    assert tree.server.read_text().partition("\n")[2] == now


def test_settings_written_are_for_apache_alone(tree):
    tree.settings.unlink()
    # the shipped settings name a cache of the system's
    text = (ROOT / "apache_conf" / "settings.ini").read_text()
    other = tree.etc / "b.ini"
    other.write_text(text.replace("/var/cache/modpython-handlers", str(tree.cache)))
    values = tree.setup("--settings", str(other), "--dry-run")
    assert {"path": str(other), "action": "kept", "written": None} in [
        {name: file[name] for name in ("path", "action", "written")} for file in values["files"]
    ]
    file = generated.File(str(tree.settings), text, marked=False, mode=0o640, gid=os.getegid())
    generated.write(file, file.path)
    assert stat.S_IMODE(tree.settings.stat().st_mode) == 0o640
    assert tree.settings.read_text() == text


def test_second_site_has_a_file_and_a_cache_of_its_own(tree):
    tree.setup()
    other = tree.etc / "b.ini"
    tree.write_settings(other, tree.directory / "cache-b", "url = /b/thumbs")
    values = tree.setup("--settings", str(other))
    assert values["include"] == "Include conf-available/handlers-site-b.conf"
    text = tree.site.with_name("handlers-site-b.conf").read_text()
    assert f"Define HANDLERS_SETTINGS {other}\n" in text
    assert "Define HANDLERS_THUMBS /b/thumbs\n" in text
    assert "a2enconf handlers" in values["next"]
    shown = tree.setup("--settings", str(tree.etc / "c.ini"), "--dry-run")
    written = {file["path"]: file["text"] for file in shown["files"]}
    assert "cache = /var/cache/modpython-handlers-c\n" in written[str(tree.etc / "c.ini")]


@pytest.mark.parametrize("cache", ["cache", "cache/inner", "link"])
def test_two_settings_files_with_one_cache_are_refused(tree, cache):
    (tree.directory / "link").symlink_to(tree.cache)
    tree.write_settings(tree.etc / "b.ini", tree.directory / cache)
    said = tree.refusal()
    assert f"thumbnail.cache is {tree.cache} in {tree.settings}" in said
    assert f"{tree.directory / cache} in {tree.etc}/b.ini: each needs its own" in said


def test_mod_wsgi_that_is_loaded_already_is_taken(tree):
    module = next(pathlib.Path(sysconfig.get_path("platlib")).glob("mod_wsgi/server/*.so"))
    theirs = tree.directory / "mod_wsgi.so"
    shutil.copy(module, theirs)
    tree.load("wsgi", theirs)
    values = tree.setup()
    assert values["module"] == str(theirs)
    assert str(module) not in tree.server.read_text()


@pytest.mark.parametrize(
    "line",
    [
        "LoadModule\twsgi_module {} \n",
        "  LoadModule  wsgi_module\t{}\r\n",
        "LoadModule \\\r\n\twsgi_module \\\r\n{}\r\n",
        "# a page\fUser nobody-of-that-name\u2028\nLoadModule wsgi_module {}\n",
        "LoadModule\nLoadModule wsgi_module\nLoadModule wsgi_module {}\n",
    ],
)
def test_line_is_read_as_apache_reads_it(tree, line):
    module = next(pathlib.Path(sysconfig.get_path("platlib")).glob("mod_wsgi/server/*.so"))
    theirs = tree.directory / "mod_wsgi.so"
    shutil.copy(module, theirs)
    path = tree.apache / "mods-enabled" / "wsgi.load"
    path.write_bytes(line.format(theirs).encode())
    assert tree.setup()["module"] == str(theirs)


def test_file_that_includes_itself_is_one_sentence(tree):
    for name in "abcd":
        path = tree.apache / "conf-enabled" / f"{name}.conf"
        path.write_text("IncludeOptional conf-enabled/*.conf\n" * 2)
    assert "a.conf is included by itself, by way of " in tree.refusal()


def test_mod_wsgi_of_debians_is_enabled_first(tree):
    """The package is installed, and its module was disabled."""
    shutil.copy(
        next(pathlib.Path(sysconfig.get_path("platlib")).glob("mod_wsgi/server/*.so")),
        tree.directory / "mod_wsgi.so",
    )
    (tree.apache / "mods-available" / "wsgi.load").write_text(
        f"LoadModule wsgi_module {tree.directory}/mod_wsgi.so\n"
    )
    values = tree.setup()
    assert values["module"] == f"{tree.directory}/mod_wsgi.so"
    assert values["next"][0] == "a2enmod wsgi"


def test_mod_wsgi_of_another_python_is_refused(tree):
    theirs = tree.directory / "mod_wsgi.so"
    theirs.write_bytes(b"\x7fELF....libpython3.9.so.1.0\0....")
    tree.load("wsgi", theirs)
    said = tree.refusal()
    assert f"{theirs} was built for Python 3.9" in said and "python3.9 -m venv" in said


def test_mod_wsgi_that_is_not_there_has_two_cures(tree, bare_python):
    said = tree.refusal(**bare_python)
    assert "apt install libapache2-mod-wsgi-py3" in said
    assert "pip install --no-cache-dir mod_wsgi" in said and "apache2-dev python3-dev gcc" in said


@pytest.fixture
def bare_python(public_dir):
    """An environment without mod_wsgi; the package and what it imports come by PYTHONPATH."""
    return environment_in(public_dir / "bare")


def environment_in(directory):
    subprocess.run(
        ["/usr/bin/python3", "-m", "venv", "--without-pip", directory], check=True, env=PLAIN
    )
    libraries = directory / "libraries"
    libraries.mkdir()
    for name in ("handlers", "PIL", "pymysql", "pillow.libs"):
        if (pathlib.Path(sysconfig.get_path("purelib")) / name).exists():
            (libraries / name).symlink_to(pathlib.Path(sysconfig.get_path("purelib")) / name)
    return {"python": str(directory / "bin" / "python"), "PYTHONPATH": str(libraries)}


@needs_root
def test_environment_that_apache_cannot_read_is_refused(tree):
    module = next(pathlib.Path(sysconfig.get_path("platlib")).glob("mod_wsgi/server/*.so"))
    tree.load("wsgi", module)
    home = tree.directory / "home"
    home.mkdir(mode=0o700)
    environment = environment_in(home / "venv")
    (home / "venv" / "share").mkdir()
    (home / "venv" / "share" / "modpython-handlers").symlink_to(ROOT / "apache_conf")
    said = tree.refusal(**environment)
    assert f"www-data may not read {home}," in said
    home.chmod(0o755)
    assert tree.setup(**environment)["server"] == "mod_wsgi"


def test_both_servers_at_once_are_refused(tree):
    tree.load("python", "/usr/lib/apache2/modules/mod_python.so")
    assert "a2dismod python" in tree.refusal()
    tree.load("wsgi", "/usr/lib/apache2/modules/mod_wsgi.so")
    assert "a2dismod wsgi" in tree.refusal("--server", "mod_python")


def test_mod_python_gets_a_path_file(tree):
    module = tree.directory / "mod_python.so"
    module.write_bytes(b"\x7fELF....libpython%d.%d.so.1.0\0" % sys.version_info[:2])
    tree.load("python", module)
    packages = tree.directory / "dist-packages"
    packages.mkdir()
    values = tree.setup("--server", "mod_python", "--dist-packages", str(packages))
    lines = (packages / "modpython-handlers.pth").read_text().splitlines()
    assert lines[0].startswith("#") and lines[1:] == [sysconfig.get_path("purelib")]
    assert "handlers-mod_python.conf" in tree.server.read_text()
    assert (values["server"], values["module"]) == ("mod_python", str(module))
    assert not (tree.etc / "handlers.wsgi").exists()


def test_mod_python_that_is_not_there_is_one_sentence(tree):
    assert "Debian 13 and later do not have it" in tree.refusal("--server", "mod_python")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_lies_at_the_url_in_a_site_is_named(tree, kind):
    taken = tree.directory / "html" / "thumbs"
    taken.mkdir() if kind == "folder" else taken.write_text("x")
    (tree.directory / "html" / "images").mkdir()
    (warning,) = tree.setup()["warnings"][:1]
    assert warning.startswith(f"{taken} exists, and its URL, /thumbs, becomes the handlers'")
    assert "sites-enabled/000-default.conf:1" in warning
    assert not any("html/images" in other for other in tree.setup()["warnings"])


def test_url_of_other_directives_is_named(tree):
    site = tree.apache / "sites-enabled" / "b.conf"
    site.write_text(
        f"Define WHERE {tree.directory}\n<VirtualHost *:80>\n    DocumentRoot ${{WHERE}}/b\n"
        "    ProxyPass /thumbs/old http://127.0.0.1:9/\n    Alias /thumbsy /srv\n"
        "    Redirect permanent /thumbs /pictures\n</VirtualHost>\n"
    )
    (tree.directory / "b" / "thumbs").mkdir(parents=True)
    warnings = tree.setup()["warnings"]
    assert [w for w in warnings if "b/thumbs exists" in w and "b.conf:2" in w]
    assert [w for w in warnings if w.startswith(f"{site}:4 has ProxyPass /thumbs/old")]
    assert [w for w in warnings if w.startswith(f"{site}:6 has Redirect /thumbs")]
    assert not any("thumbsy" in warning for warning in warnings)


def test_mod_wsgi_that_may_not_embed_python_is_named(tree):
    conf = tree.apache / "conf-enabled" / "embedded.conf"
    conf.write_text("WSGIRestrictEmbedded On\n")
    (warning, *_) = tree.setup()["warnings"]
    assert warning.startswith(f"{conf}:1 has WSGIRestrictEmbedded On: define HANDLERS_GROUP")
    conf.write_text("WSGIRestrictEmbedded Off\n")
    assert not any("Embedded" in warning for warning in tree.setup()["warnings"])


def test_data_that_apache_cannot_read_is_named(tree):
    warnings = tree.setup()["warnings"]
    assert f"lookup.database: {tree.directory}/images.db is not there" in warnings
    pictures = tree.directory / "pictures"
    pictures.mkdir(mode=0o700)
    (tree.directory / "images.db").touch(mode=0o644)
    tree.write_settings(tree.settings, tree.cache, f"[images]\nroot = {pictures}")
    warnings = tree.setup()["warnings"]
    if IS_ROOT:
        assert warnings == [f"images.root {pictures}: www-data may not read {pictures}"]
    else:
        assert warnings == []


@needs_root
def test_cache_of_somebody_else_is_refused(tree):
    tree.cache.mkdir()
    os.chown(tree.cache, 65534, 65534)
    said = tree.refusal()
    assert f"{tree.cache} belongs to nobody and must be www-data's" in said
    assert f"chown -R www-data: {tree.cache}" in said


@needs_root
def test_cache_below_a_directory_of_somebody_else_is_refused(tree):
    """Who owns it could put a link in the place of what root is about to give away."""
    above = tree.directory / "theirs"
    above.mkdir()
    os.chown(above, 65534, 65534)
    tree.write_settings(tree.settings, above / "cache")
    assert f"{above} belongs to nobody" in tree.refusal()


@needs_root
@pytest.mark.parametrize("place", ["itself", "above"])
def test_links_are_not_followed(tree, place):
    target = tree.directory / "target"
    target.mkdir()
    link = tree.directory / "link"
    link.symlink_to(target)
    tree.write_settings(tree.settings, link if place == "itself" else link / "cache")
    assert f"{link} is a link: name the directory itself, {target}" in tree.refusal()
    assert target.stat().st_uid == 0


@needs_root
def test_directory_of_roots_is_given_away_only_if_it_is_empty(tree):
    tree.cache.mkdir()
    tree.setup()
    assert tree.cache.stat().st_uid == 33
    other = tree.directory / "full"
    other.mkdir()
    (other / "file").touch()
    tree.write_settings(tree.settings, other)
    assert f"{other} belongs to root" in tree.refusal()


@needs_root
def test_cache_below_apaches_own_directory_is_made_by_apaches_user(tree):
    above = tree.directory / "apaches"
    above.mkdir()
    os.chown(above, 33, 33)
    tree.write_settings(tree.settings, above / "deep" / "cache")
    tree.setup()
    assert [p.stat().st_uid for p in (above / "deep", above / "deep" / "cache")] == [33, 33]


def test_conf_d_of_red_hat(tree):
    httpd = tree.directory / "httpd"
    (httpd / "conf").mkdir(parents=True)
    (httpd / "conf.d").mkdir()
    (httpd / "conf" / "httpd.conf").write_text(
        f'ServerRoot "{httpd}"\nUser www-data\nGroup www-data\n'
        'ErrorLog "logs/error_log"\nInclude conf.modules.d/*.conf\nIncludeOptional conf.d/*.conf\n'
    )
    tree.apache = httpd
    values = tree.setup()
    assert (httpd / "conf.d" / "handlers.conf").exists()
    assert (httpd / "conf.d" / "handlers-site.conf").exists()
    assert values["next"] == [
        "apachectl configtest",
        restart("httpd"),
        f"tail -f {httpd}/logs/error_log",
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tree: shutil.rmtree(tree.apache), "no Apache: "),
        (
            lambda tree: (tree.apache / "apache2.conf").unlink(),
            "neither apache2.conf nor httpd.conf",
        ),
        (lambda tree: tree.settings.write_text("[lookup\n"), "settings.ini"),
        (
            lambda tree: tree.write_settings(tree.settings, "cache"),
            "is not an absolute path",
        ),
    ],
)
def test_what_cannot_be_set_up_is_one_sentence(tree, change, sentence):
    change(tree)
    assert sentence in tree.refusal()


def test_user_who_is_not_there_is_one_sentence(tree):
    done = tree.command("setup", "--user", "nobody-of-that-name")
    if IS_ROOT:
        assert done.returncode == 1
        assert "there is no user nobody-of-that-name" in done.stderr


def test_uninstall_names_all_and_deletes_nothing(tree):
    tree.setup()
    other = tree.etc / "b.ini"
    tree.write_settings(other, tree.directory / "cache-b")
    tree.setup("--settings", str(other))
    environment = PLAIN | {"APACHE_CONFDIR": str(tree.apache)}
    subprocess.run(
        ["a2enconf", "handlers", "handlers-site"], env=environment, check=True, capture_output=True
    )
    host = tree.apache / "sites-enabled" / "b.conf"
    host.write_text(
        "<VirtualHost *:80>\nInclude conf-available/handlers-site-b.conf\n</VirtualHost>"
    )
    (tree.apache / "conf-available" / "handlers-own.conf").write_text("# somebody's\n")
    before = tree.files()
    done = tree.command("uninstall", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    assert values["next"] == [
        "a2disconf handlers handlers-site",
        "apachectl configtest",
        restart("apache2"),
    ]
    assert values["includes"] == [
        {"file": str(host), "line": 2, "text": "Include conf-available/handlers-site-b.conf"}
    ]
    conf = tree.apache / "conf-available"
    names = ("handlers-site-b.conf", "handlers-site.conf", "handlers.conf")
    assert values["files"] == [str(conf / name) for name in names]
    assert values["directories"][:3] == [
        str(path) for path in (tree.etc, tree.directory / "cache-b", tree.cache)
    ]
    assert f"    rm -r {tree.etc}" in tree.command("uninstall").stdout
    assert tree.files() == before
