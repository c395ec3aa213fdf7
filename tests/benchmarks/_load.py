"""Load on one httpd by wrk (Debian: apt install wrk), and rows of results."""

import contextlib
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
from typing import NamedTuple


class Rate(NamedTuple):
    """Requests per second, and percentiles of their latency in milliseconds."""

    per_second: float
    p50: float
    p99: float


@contextlib.contextmanager
def workplace(directory=None):
    """Yield a new directory that Apache's user can reach; it is deleted after the block.

    :param directory: where it lies, by default where temporary files do.
    """
    with tempfile.TemporaryDirectory(prefix="handlers-bench-", dir=directory) as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def request_rate(port, path, seconds=2.0, connections=4, script=None, patience=2) -> Rate:
    """Send GETs for *path* over kept connections for a while.

    :param script: Lua for wrk, where the requests differ.
    :param patience: seconds after which a request without an answer counts as failed.
    :raises RuntimeError: if an answer is not 2xx or 3xx, or a connection fails.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not installed (Debian: apt install wrk)")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--latency"]
    command.append(f"--timeout={patience}")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        command.append(f"http://127.0.0.1:{port}{path}")
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{path}: {said}")
    return Rate(
        float(re.search(r"Requests/sec:\s+([0-9.]+)", said)[1]),
        _milliseconds(re.search(r"(?m)^ +50% +(\S+) *$", said)[1]),
        _milliseconds(re.search(r"(?m)^ +99% +(\S+) *$", said)[1]),
    )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rounds(count, cases):
    """Run every case of ``{name: function}`` *count* times, in turn; return ``{name: values}``."""
    values = {name: [] for name in cases}
    for _ in range(count):
        for name, measure in cases.items():
            values[name].append(measure())
    return values


def ratio(values, rivals):
    """Return the median of the ratios within the rounds."""
    return statistics.median(a / b for a, b in zip(values, rivals, strict=True))


def row(bench, case, value, unit, rival=None, against=None, bar=None, holds=None):
    """Return a row of results."""
    return {
        "bench": bench,
        "case": case,
        "value": value,
        "unit": unit,
        "rival": rival,
        "ratio": against,
        "bar": bar,
        "holds": holds,
    }


def _milliseconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}[unit]
