"""Applications of PyPI that have a front-end for mod_python, fetched once, and a site of each."""

import pathlib
import re
import shutil
import subprocess
import sys

from handlers import locks

#: Later versions may drop mod_python.
_PACKAGES = (
    *("Trac==1.6", "CherryPy==18.10.0", "roundup==2.4.0", "Paste==3.10.1", "PasteDeploy==3.1.0"),
    # what they import; Trac needs pkg_resources
    *("Jinja2", "MarkupSafe", "setuptools==79.0.1", "cheroot", "more_itertools", "portend"),
    *("jaraco.functools", "jaraco.collections", "jaraco.text", "tempora", "zc.lockfile"),
    *("python-dateutil<3", "six", "jaraco.context", "backports.tarfile"),
    # instead of cgi, which Python has dropped
    *("legacy-cgi; python_version >= '3.13'", "multipart; python_version >= '3.13'"),
)
_KEPT = pathlib.Path(sys.prefix, "applications")

CHERRYPY = """
import cherrypy


class Root:
    @cherrypy.expose
    def index(self):
        return "cherry root"

    @cherrypy.expose
    def echo(self, text, again="none"):
        cherrypy.response.headers["X-Cherry"] = "1"
        return f"{cherrypy.request.method} {text} {again}"

    @cherrypy.expose
    def upload(self, part):
        return f"{part.filename} {len(part.file.read())}"

    @cherrypy.expose
    def leave(self):
        raise cherrypy.HTTPRedirect("/cherry/")


def setup_server():
    cherrypy.tree.mount(Root(), "/cherry")
    cherrypy.config.update({"environment": "production", "log.screen": False})
"""
PASTE = """
def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Paste", "1")])
    said = " ".join(environ[name] for name in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO"))
    return [said.encode(), b" ", environ.get("QUERY_STRING", "").encode(), b" ", body]
"""
SITE = """
DocumentRoot "{directory}/htdocs"
<Directory "{directory}/htdocs">
    Require all granted
</Directory>
Alias /trac "{directory}/trac"
<Directory "{directory}/trac">
    Require all granted
    SetHandler python-program
    PythonPath "['{applications}'] + sys.path"
    PythonHandler trac.web.modpython_frontend
    PythonOption TracEnv "{directory}/trac"
    PythonOption TracUriRoot /trac
    PythonOption PYTHON_EGG_CACHE "{directory}/trac"
</Directory>
Alias /roundup "{directory}/roundup"
<Directory "{directory}/roundup">
    Require all granted
    SetHandler python-program
    PythonPath "['{applications}'] + sys.path"
    PythonHandler roundup.cgi.apache
    PythonOption TrackerHome "{directory}/roundup"
</Directory>
<Location "/cherry">
    SetHandler python-program
    PythonPath "sys.path + ['{applications}', '{directory}/code']"
    PythonHandler cherrypy._cpmodpy::handler
    PythonOption cherrypy.setup cherry_site::setup_server
</Location>
<Location "/paste">
    SetHandler python-program
    PythonPath "['{directory}/code', '{applications}'] + sys.path"
    PythonHandler paste.modpython
    PythonOption wsgi.application paste_site::app
    PythonOption SCRIPT_NAME /paste
</Location>
"""


def fetch() -> pathlib.Path:
    """Return the directory of the applications' packages; install them there if need be.

    :raises subprocess.CalledProcessError: if they cannot be had.
    """
    # another worker of pytest may be at it
    with locks.held(f"{_KEPT}.lock", timeout=600):
        done = _KEPT / "done"
        if not done.exists() or done.read_text() != str(_PACKAGES):
            shutil.rmtree(_KEPT, ignore_errors=True)
            options = (
                "--no-deps",
                "--no-cache-dir",
                "--disable-pip-version-check",
                "-q",
                "--target",
                _KEPT,
            )
            _run([sys.executable, "-m", "pip", "install", *options, *_PACKAGES])
            done.write_text(str(_PACKAGES))
    return _KEPT


def make_sites(directory: pathlib.Path, applications: pathlib.Path) -> str:
    """Make a site of each application; return the configuration for mod_python."""
    code = directory / "code"
    code.mkdir()
    (code / "cherry_site.py").write_text(CHERRYPY)
    (code / "paste_site.py").write_text(PASTE)
    python = [sys.executable, "-c"]
    environment = {"PYTHONPATH": str(applications), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    trac = directory / "trac"
    command = (
        f"from trac.admin.console import run; run([{str(trac)!r}, 'initenv', 'a', 'sqlite:db/t'])"
    )
    _run([*python, command], environment)
    tracker = directory / "roundup"
    admin = "import sys; from roundup.scripts.roundup_admin import run; sys.exit(run())"
    _run([*python, admin, "-i", tracker, "install", "classic", "anydbm"], environment)
    config = tracker / "config.ini"
    text = config.read_text()
    for name, value in (
        ("domain", "localhost"),
        ("host", "localhost"),
        ("web", "http://h/roundup/"),
    ):
        text = re.sub(rf"(?m)^#?{name} = NO DEFAULT", f"{name} = {value}", text)
    config.write_text(text)
    _run([*python, admin, "-i", tracker, "initialise", "sesame"], environment)
    return SITE.replace("{applications}", str(applications))


def _run(command, environment=None) -> None:
    subprocess.run(command, check=True, capture_output=True, env=environment, text=True)
