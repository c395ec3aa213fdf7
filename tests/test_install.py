"""``pip install .`` from a copy of this checkout, and the console script that it makes."""

import pathlib
import shutil
import subprocess
import sysconfig

import pytest

import handlers

# they need packages of Debian's, or make environments
pytestmark = pytest.mark.server

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("handlers", "apache_conf", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def installed(base):
    """A virtual environment with the package, the sources, and what lay there before."""
    sources, venv = base / "sources", base / "installed"
    sources.mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    for cache in [*sources.rglob("__pycache__")]:
        shutil.rmtree(cache)
    before = sorted(sources.rglob("*"))
    subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True, env=PLAIN)
    subprocess.run(
        [venv / "bin" / "pip", "install", "-q", "--no-cache-dir", "--no-deps", "."],
        check=True,
        cwd=sources,
    )
    # what the package needs is taken from the environment of this test run
    (library,) = venv.glob("lib/python3*/site-packages")
    (library / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return venv, sources, before


def run(venv, *arguments, cwd="/"):
    script = venv / "bin" / "modpython-handlers"
    return subprocess.run(
        [script, *arguments], capture_output=True, text=True, env=PLAIN, cwd=cwd, timeout=600
    )


def test_installing_leaves_nothing_in_the_checkout(installed):
    _, sources, before = installed
    assert sorted(sources.rglob("*")) == before


def test_wheel_holds_the_package_and_the_shared_files(installed):
    venv, sources, _ = installed
    (package,) = venv.glob("lib/python3*/site-packages/handlers")
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    assert modules == {
        path.relative_to(sources / "handlers") for path in (sources / "handlers").rglob("*.py")
    }
    shared = {path.name for path in (venv / "share" / "modpython-handlers").iterdir()}
    manual = "modpython-handlers.1"
    assert (venv / "share" / "man" / "man1" / manual).exists()
    shipped = {path.name for path in (sources / "apache_conf").iterdir()}
    assert shared == shipped - {"quickstart", manual}


def test_version_is_that_of_the_package(installed):
    done = run(installed[0], "--version")
    assert (done.returncode, done.stdout) == (0, f"modpython-handlers {handlers.__version__}\n")


def test_script_imports_nothing_from_the_current_directory(installed, tmp_path):
    """Root may run it in a directory of somebody else's."""
    trap = "raise SystemExit('imported from the current directory')\n"
    (tmp_path / "handlers").mkdir()
    for name in ("handlers/__init__", "pwd", "json", "argparse", "logging", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(trap)
    link = tmp_path / "bin" / "modpython-handlers"
    link.parent.mkdir()
    link.symlink_to(installed[0] / "bin" / "modpython-handlers")
    for script in (installed[0] / "bin" / "modpython-handlers", link):
        done = subprocess.run(
            [script, "cache", "stats", "--settings", "none.ini"],
            capture_output=True,
            text=True,
            env=PLAIN,
            cwd=tmp_path,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("modpython-handlers: settings file none.ini")


COMMANDS = [
    (),
    ("setup",),
    ("uninstall",),
    *(("cache", name) for name in ("stats", "purge", "sweep", "warm", "url")),
    *(("lookup", name) for name in ("warm", "show", "stats")),
    *(("sessions", name) for name in ("create", "sweep", "stats", "list", "purge")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_the_program_and_the_exit_statuses(installed, command):
    done = run(installed[0], *command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {' '.join(['modpython-handlers', *command])} [-h]")
    for line in ("exit status:", "  1    failed", "  2    wrong usage", "  75   busy"):
        assert line in done.stdout
    assert "--json" in done.stdout and "--settings FILE" in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_wrong_option_is_wrong_usage(installed, command):
    done = run(installed[0], *command, "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: modpython-handlers")


def test_module_is_the_same_program(installed):
    done = subprocess.run(
        [installed[0] / "bin" / "python", "-m", "handlers", "--help"],
        capture_output=True,
        text=True,
        env=PLAIN,
        cwd="/",
    )
    assert done.stdout == run(installed[0], "--help").stdout
