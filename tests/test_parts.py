"""The parts of the suite: what is left out where, and what the last line says of it."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ON_MOD_PYTHON = "tests/test_mistakes.py::test_root_that_is_a_file[mod_python]"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_last_line_says_how_many_tests_a_machine_without_mod_python_leaves_out(tmp_path, processes):
    (tmp_path / "without.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.servers import httpd\n\nhttpd.has_mod_python = lambda: False\n"
    )
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "without", "-n", str(processes)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "tests/test_names.py", ON_MOD_PYTHON],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == (
        "1 tests of the handlers on mod_python were not collected: this machine has no mod_python"
    )
