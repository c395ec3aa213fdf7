"""The drop-ins under Debian's stock configuration, enabled by Debian's own tools."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from handlers.quickstart import httpd
from tests.servers.httpd import free_port, make_images_table

APACHE_CONF = pathlib.Path(__file__).parent.parent / "apache_conf"


@pytest.fixture
def stock(public_dir):
    """A copy of Debian's configuration as the package brings it, and the environment to use it."""
    etc = public_dir / "apache2"
    shutil.copytree("/etc/apache2", etc, symlinks=True)
    for path in etc.glob("mods-enabled/*"):
        if path.name.startswith(("python", "php", "wsgi", "headers")):
            path.unlink()
    (etc / "envvars").write_text(
        f"export APACHE_RUN_USER=www-data APACHE_RUN_GROUP=www-data APACHE_LOG_DIR={public_dir}\n"
        f"export APACHE_RUN_DIR={public_dir} APACHE_LOCK_DIR={public_dir}\n"
        f"export APACHE_PID_FILE={public_dir}/pid LANG=C\n"
    )
    return etc, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "APACHE_CONFDIR": str(etc)}


def run(environment, *command):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["handlers", "handlers-mod_python"])
def test_configtest_accepts_the_drop_in(stock, name):
    etc, environment = stock
    text = (APACHE_CONF / f"{name}.conf").read_text()
    # the one line that an admin with another place for the package edits
    text = text.replace(
        "Define HANDLERS_HOME /opt/modpython-handlers", f"Define HANDLERS_HOME {sys.prefix}"
    )
    (etc / "conf-available" / f"{name}.conf").write_text(text)
    assert run(environment, "a2enconf", name)[0] == 0
    status, said = run(environment, "apachectl", "configtest")
    assert status == 0, said
    assert "Syntax OK" in said


@pytest.mark.parametrize("name", ["handlers", "handlers-mod_python"])
def test_shipped_files_serve_with_the_lines_edited_that_must_be(stock, name, public_dir, pictures):
    """What README says to do, in the test's own directories."""
    etc, environment = stock
    root, rows = pictures
    own, cache, port = public_dir / "etc", public_dir / "cache", free_port()
    for directory in (own, cache):
        directory.mkdir()
    shutil.chown(cache, "www-data", "www-data")
    shutil.copy(APACHE_CONF / "handlers.wsgi", own)
    places = {
        "/opt/modpython-handlers": sys.prefix,
        "/etc/modpython-handlers": own,
        "/var/cache/modpython-handlers": cache,
        "/var/lib/modpython-handlers/images.db": public_dir / "images.db",
        "/srv/pictures": root,
        "#Define HANDLERS_GALLERY": "Define HANDLERS_GALLERY",
    }
    make_images_table(public_dir / "images.db", rows)
    edited(APACHE_CONF / "settings.ini", own / "settings.ini", places)
    edited(APACHE_CONF / f"{name}.conf", etc / "conf-available" / f"{name}.conf", places)
    edited(etc / "ports.conf", etc / "ports.conf", {"Listen 80": f"Listen 127.0.0.1:{port}"})
    assert run(environment, "a2enconf", name)[0] == 0
    status, said = run(environment, "apachectl", "start")
    assert status == 0, said
    try:
        curl = ("curl", "-sS", "-o", os.devnull, "-w", "%{http_code}")
        patient = ("--retry-connrefused", "--retry", "9")
        for path in ("/thumbs/200x200/p001.jpg", "/thumbs/200x200/p001.jpg", "/"):
            status, said = run(environment, *curl, *patient, f"http://127.0.0.1:{port}{path}")
            assert said == "200", (etc.parent / "error.log").read_text()
        assert (cache / "thumbs" / "200x200" / "p001.jpg").exists()
    finally:
        assert run(environment, "apachectl", "stop")[0] == 0
        deadline = time.monotonic() + 30
        while (etc.parent / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def edited(source, target, places):
    text = source.read_text()
    for old, new in places.items():
        text = text.replace(old, str(new))
    target.write_text(text)
    target.chmod(0o644)


def test_both_drop_ins_have_the_same_sections():
    def sections(name):
        lines = (APACHE_CONF / name).read_text().splitlines()
        return [line for line in lines if line.strip().startswith(("<", "Header", "Alias"))]

    def without_loading(lines):
        return [line for line in lines if "python_module" not in line and "wsgi_module" not in line]

    assert without_loading(sections("handlers.conf")) == without_loading(
        sections("handlers-mod_python.conf")
    )


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
