"""README's "Drop it in", typed word for word on this machine's Debian.

Each test has mounts and processes of its own (unshare(1)): whatever apt, pip, a2enconf and setup
write lies in layers above the system's directories, and is gone with the test. Needs root.
"""

import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import pytest
from PIL import Image

from tests.servers.httpd import free_port
from tests.support import restart

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and install")

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SECTION = README[README.index("## Drop it in") : README.index("## What you set")]
PARTS = ("handlers", "apache_conf", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
CACHE = "/var/cache/modpython-handlers"

# What is private: everything that the commands write to.
MOUNTS = """\
set -eu
mount -t tmpfs none "$LAYERS"
for name in etc opt usr var srv; do
    mkdir -p "$LAYERS/$name/upper" "$LAYERS/$name/work"
    mount -t overlay overlay \\
        -o "lowerdir=/$name,upperdir=$LAYERS/$name/upper,workdir=$LAYERS/$name/work" "/$name"
done
"""
# A Debian as it comes, on a free port, without systemd.
MACHINE = """\
exec 2>&1
a2dismod -q python > /dev/null || true
rm -rf /opt/modpython-handlers /etc/modpython-handlers /var/cache/modpython-handlers
sed -i "s/^Listen 80$/Listen 127.0.0.1:$PORT/" /etc/apache2/ports.conf
sed -i "s/:80>/:$PORT>/" /etc/apache2/sites-available/000-default.conf
# whoever types says yes
echo 'APT::Get::Assume-Yes "true";' > /etc/apt/apt.conf.d/99yes
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
printf '#!/bin/sh\\nexec apachectl "$1"\\n' > /usr/local/bin/systemctl
chmod +x /usr/local/bin/systemctl
mkdir -p /srv/gallery
cp -r "$DATA"/. /srv/gallery
chmod -R a+rX /srv/gallery
ask() {
    for attempt in $(seq 200); do
        curl -sS -o "$OUT/$1" -w '%{http_code} %{content_type}\\n' -H "Host: $2" \\
            "http://127.0.0.1:$PORT$3" > "$OUT/$1.status" && return
        sleep 0.3
    done
    return 1
}
ask_until() {
    # a graceful restart leaves the old children to what they are at
    for attempt in $(seq 300); do
        ask "$2" "$3" "$4"
        grep -q "^$1 " "$OUT/$2.status" && return
        sleep 0.1
    done
}
restarted() {
    # the first child of the new generation writes the snapshot
    for attempt in $(seq 900); do
        [ -e "$1/handlers-state/lookup.snapshot" ] && return
        sleep 0.1
    done
    cat /var/log/apache2/error.log
    return 1
}
edit() {
    sed -i "s|^database = .*|database = sqlite:////srv/gallery/$2.db|" "$1"
    sed -i "s|^table = .*|table = photos|; s|^root = .*|root = /srv/gallery/$2|" "$1"
}
"""


def blocks(text):
    """Return the indented blocks of README, each as a list of its lines."""
    found = re.findall(r"(?m)(?:^ {4,}\S.*\n)+", text)
    return [[line.strip() for line in block.splitlines()] for block in found]


def typed(lines):
    """Return commands as a shell script, in which a log is followed for a second only."""
    return "".join(
        f"timeout 1 {line} || true\n" if line.startswith("tail -f") else f"{line}\n"
        for line in lines
    )


(DEBIANS, PYPIS, SETUP, ENABLE, *_) = blocks(SECTION)


def block_with(start):
    (found,) = [block for block in blocks(SECTION) if block[0].startswith(start)]
    return found


class Machine:
    """What is to be typed, and what comes of it."""

    def __init__(self, directory: pathlib.Path):
        self.directory = directory
        self.port = free_port()
        self.out, self.data, self.sources = (directory / n for n in ("out", "data", "sources"))
        for path in (self.out, self.data, self.sources, directory / "layers"):
            path.mkdir()
        for name in PARTS:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.sources / name)
        self.photos("site", {"1": (200, 30, 30), "2": (30, 200, 30)})

    def photos(self, name, colours):
        """Make a folder and a table of one's own."""
        (self.data / name).mkdir()
        with sqlite3.connect(self.data / f"{name}.db") as connection:
            connection.execute("CREATE TABLE photos (id INTEGER PRIMARY KEY, path TEXT)")
            for id, colour in colours.items():
                Image.new("RGB", (640, 480), colour).save(self.data / name / f"{id}.jpg")
                connection.execute("INSERT INTO photos VALUES (?, ?)", (id, f"{id}.jpg"))
        connection.close()

    def type(self, script):
        """Run *script* as root types it; return what it said."""
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "bash",
                "-c",
                MOUNTS + MACHINE + "set -x\n" + script,
            ],
            cwd=self.sources,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": os.environ.get("HOME", "/root"),
                "LANG": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
                "LAYERS": str(self.directory / "layers"),
                "DATA": str(self.data),
                "OUT": str(self.out),
                "PORT": str(self.port),
                **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answer(self, name):
        status = (self.out / f"{name}.status").read_text().split()[0]
        return int(status), self.out / name


@pytest.fixture
def machine(public_dir):
    return Machine(public_dir)


def colour_of(path):
    with Image.open(path) as picture:
        assert picture.size == (200, 150)
        return tuple(round(value, -1) for value in picture.getpixel((100, 75)))


def complaints(log):
    """Return the errors in the log; all that Debian's mod_wsgi writes has that level."""
    return [
        line
        for line in log.splitlines()
        if re.search(r":(error|crit|alert|emerg)\]|Traceback", line)
        and not re.search(r"\[wsgi:error\].* \[(info|warn)\] ", line)
    ]


@pytest.mark.parametrize("install", [DEBIANS, PYPIS], ids=["debians", "pypis"])
def test_typed_word_for_word_it_gives_the_first_thumbnail(machine, install):
    machine.type(
        typed(install)
        + "modpython-handlers setup --dry-run --json > $OUT/setup.json\n"
        + typed(SETUP)
        + "edit /etc/modpython-handlers/settings.ini site\n"
        + typed(ENABLE)
        + f"restarted {CACHE}\n"
        + "ask first localhost /thumbs/200x200/1.jpg\nask second localhost /thumbs/200x200/2.jpg\n"
        + "ask root localhost /\nask images localhost /images/1\n"
        + f"stat -c %U {CACHE} {CACHE}/thumbs/200x200/1.jpg > $OUT/owners\n"
        + "stat -c '%a %U:%G' /etc/modpython-handlers/settings.ini >> $OUT/owners\n"
        + "cd /; modpython-handlers cache stats --json > $OUT/stats.json; cd - > /dev/null\n"
        + typed(block_with("/opt/modpython-handlers/bin/pip install --no-deps -U"))
        + "ask again localhost /thumbs/400x400/2.jpg\n"
        + "cp /var/log/apache2/error.log $OUT/error.log\napachectl stop\n"
    )
    log = (machine.out / "error.log").read_text()
    for name, colour in (("first", (200, 30, 30)), ("second", (30, 200, 30))):
        status, path = machine.answer(name)
        assert status == 200, log
        assert colour_of(path) == colour
    assert machine.answer("again")[0] == 200, log
    # nothing else of the site has changed
    status, path = machine.answer("root")
    assert status == 200 and "Apache2 Debian Default Page" in path.read_text()
    assert machine.answer("images")[0] == 404
    assert (machine.out / "owners").read_text().split("\n")[:3] == [
        "www-data",
        "www-data",
        "640 root:www-data",
    ]
    stats = json.loads((machine.out / "stats.json").read_text())
    assert stats["thumbs/200x200"]["files"] == 2
    # README cannot know whether there is systemd
    wanted = [restart() if line.startswith("systemctl ") else line for line in ENABLE]
    assert json.loads((machine.out / "setup.json").read_text())["next"] == wanted
    assert not complaints(log)


@pytest.mark.parametrize("server", ["mod_python"])
def test_setup_for_mod_python_gives_the_first_thumbnail(machine, server):
    """Beside a handler of somebody else's, which mod_python finds in its own directory."""
    machine.type(
        "a2enmod python\nmkdir /var/www/html/hello\n"
        + 'printf \'from mod_python import apache\\ndef handler(req):\\n    req.write("Hello")\\n'
        + "    return apache.OK\\n' > /var/www/html/hello/hello.py\n"
        + "printf '<Directory /var/www/html/hello>\\nSetHandler mod_python\\nPythonHandler hello\\n"
        + "</Directory>\\n' > /etc/apache2/conf-enabled/hello.conf\n"
        # without the line of apt, which is about mod_wsgi
        + typed(DEBIANS[1:])
        + f"modpython-handlers setup --server {server}\n"
        + "edit /etc/modpython-handlers/settings.ini site\n"
        + typed(ENABLE)
        + f"restarted {CACHE}\n"
        + "ask first localhost /thumbs/200x200/1.jpg\nask hello localhost /hello/\n"
        + "cp /var/log/apache2/error.log $OUT/error.log\n"
        + "modpython-handlers uninstall > $OUT/uninstall\napachectl stop\n"
    )
    log = (machine.out / "error.log").read_text()
    status, path = machine.answer("first")
    assert status == 200, log
    assert colour_of(path) == (200, 30, 30)
    status, path = machine.answer("hello")
    assert (status, path.read_text()) == (200, "Hello"), log
    assert not complaints(log)
    assert re.search(
        r"rm /usr/local/lib/python3\.\d+/dist-packages/modpython-handlers\.pth",
        (machine.out / "uninstall").read_text(),
    )


def test_two_sites_typed_word_for_word(machine):
    """Each in its own virtual host, with a table of its own; a third host has none of it."""
    machine.photos("other", {"1": (30, 30, 200)})
    host = (
        "<VirtualHost *:{}>\\nServerName {}\\nDocumentRoot /var/www/html\\n{}\\n</VirtualHost>\\n"
    )
    hosts = "".join(
        host.format(machine.port, name, include)
        for name, include in (
            ("c.example", ""),
            ("a.example", block_with("Include conf-available/handlers-site.conf")[0]),
            ("b.example", block_with("Include conf-available/handlers-site-b.conf")[0]),
        )
    )
    second = block_with("modpython-handlers setup --settings")
    machine.type(
        typed(DEBIANS)
        + typed(SETUP)
        + "edit /etc/modpython-handlers/settings.ini site\n"
        + typed(second)
        + "edit /etc/modpython-handlers/b.ini other\n"
        + f"printf '{hosts}' > /etc/apache2/sites-available/000-default.conf\n"
        + "a2enmod headers\n"
        + typed(block_with("a2enconf handlers"))
        + "apachectl configtest\nsystemctl restart apache2\n"
        + f"restarted {CACHE}\nrestarted {CACHE}-b\n"
        + "".join(f"ask {n} {n}.example /thumbs/200x200/1.jpg\n" for n in "abc")
        + "ask b2 b.example /thumbs/200x200/2.jpg\n"
        + "cp /var/log/apache2/error.log $OUT/error.log\n"
        + "modpython-handlers uninstall --json > $OUT/uninstall.json\n"
        + "sed -i /handlers-site/d /etc/apache2/sites-available/000-default.conf\n"
        + 'jq() { /usr/bin/python3 -c \'import json, sys; print(*json.load(sys.stdin)["next"], '
        + 'sep="\\n")\'; }\n'
        + "jq < $OUT/uninstall.json > $OUT/uninstall.sh; . $OUT/uninstall.sh\n"
        + "ask_until 404 after a.example /thumbs/200x200/1.jpg\napachectl stop\n"
    )
    log = (machine.out / "error.log").read_text()
    assert [machine.answer(name)[0] for name in ("a", "b", "c", "b2")] == [200, 200, 404, 404], log
    assert colour_of(machine.answer("a")[1]) == (200, 30, 30)
    assert colour_of(machine.answer("b")[1]) == (30, 30, 200)
    assert not complaints(log)
    named = json.loads((machine.out / "uninstall.json").read_text())
    assert [include["text"] for include in named["includes"]] == [
        "Include conf-available/handlers-site.conf",
        "Include conf-available/handlers-site-b.conf",
    ]
    assert named["next"][0] == "a2disconf handlers"
    assert named["directories"] == [
        "/etc/modpython-handlers",
        f"{CACHE}-b",
        CACHE,
        "/opt/modpython-handlers",
    ]
    assert named["files"][-1] == "/usr/local/bin/modpython-handlers"
    assert machine.answer("after")[0] == 404
