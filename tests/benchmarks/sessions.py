"""Sessions on real Apache prefork: request rate and latency, with and without a running sweep.

A request opens one of N sessions of 1 KB, at random, counts in it and saves it; wrk sends them on
eight connections to eight children. Cases take turns within each round: a turn without any sweep,
then one with the store's own, while as many sessions as 3.3 % of N have expired. Ratios are medians
over the rounds, and those between cases are of the turns without a sweep.

The session's own cost is the CPU time of a request of one client alone, minus that of a hello of
the same child.

A request that still waits when its turn ends is in no percentile: where everybody waits for a
cleanup, the rate tells it. The CPU time of the children for each request is what other work on the
machine disturbs least.

The bars are for a million sessions; ``--store`` runs some of the cases only.
"""

import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from tests.benchmarks import _session_ours, _session_rivals
from tests.benchmarks._load import ratio, row, workplace
from tests.benchmarks._session_cases import HANDLERS, session_ids
from tests.benchmarks._session_turns import turn

_CASES = {case.name: case for case in (*_session_ours.CASES, *_session_rivals.CASES)}
_DEFAULT = "file"
_EXPIRED = 0.033
_BARS_FROM = 1_000_000
#: the least share of the rate that is kept while sweeping, by file system
_KEPT = {"tmpfs": 0.97}
_KEPT_ON_DISK = 0.95
_SLOWER = 1.2
_TIMES = {"mod_python-DbmSession": 8, "mod_python-FileSession": 2}
_STOCK = "mod_python-FileSession"
#: the most CPU per request, as a share of mod_python's FileSession
_CPU = {"file": 0.8, "file-on-mod_python": 0.5}
#: the most of its own that a session may cost, as a share of a rival's own cost
_OWN = {_STOCK: 0.4, "php": 1.0}
_SWEEP_SECONDS = 6
_GROWTH = 10


def add_arguments(parser) -> None:
    """Add this benchmark's own arguments."""
    parser.set_defaults(rounds=1)
    parser.add_argument("--sessions", type=int, default=10_000, help="live sessions (10000)")
    parser.add_argument(
        "--store", action="append", choices=_CASES, help="this case only; may be repeated"
    )
    parser.add_argument("--seconds", type=int, help="length of a turn (2, or 10 from a million)")
    parser.add_argument("--directory", help="where everything lies, to choose a file system")


def run(args) -> list[dict]:
    """Return the rows of the benchmark."""
    with workplace(args.directory) as base, contextlib.ExitStack() as stack:
        return _run(base, args, stack)


def _run(base, args, stack):
    seconds = args.seconds or (10 if args.sessions >= _BARS_FROM else 2)
    shutil.copytree(pathlib.Path(__file__).parent / HANDLERS, base / HANDLERS)
    ids = session_ids("live", args.sessions)
    expired = session_ids("expired", round(args.sessions * _EXPIRED))
    ids_file = base / "ids"
    ids_file.write_text("".join(f"{sid}\n" for sid in ids))
    cases, left_out = [], []
    for name in args.store or _CASES:
        missing = _CASES[name].missing()
        if missing:
            left_out.append(
                row("sessions", f"{name}: left out, {missing} is not installed", "", "")
            )
        else:
            cases.append(_CASES[name](base, args.sessions))
    for case in cases:
        started = time.monotonic()
        case.open(stack)
        case.as_apache(case.prepare)
        case.fill_all(ids, time.time())
        _say(f"{case.name}: {len(ids)} sessions in {time.monotonic() - started:.1f} s")
    # what was written must not be on its way to the disk while others are measured
    os.sync()
    held = args.sessions >= _BARS_FROM
    if held:
        # files that nobody has opened yet are slower for whoever comes first
        for case in cases:
            turn(case, False, ids_file, ids[:200], expired, seconds, args.rounds)
    turns = {case.name: ([], []) for case in cases}
    for number in range(args.rounds):
        for case in cases:
            # whoever comes first finds colder caches
            for sweeping in (False, True) if number % 2 == 0 else (True, False):
                found = turn(case, sweeping, ids_file, ids[:200], expired, seconds, number)
                turns[case.name][sweeping].append(found)
                _say(f"{case.name}{', sweeping' * sweeping}: {found}")
    kept = _KEPT.get(_file_system(base), _KEPT_ON_DISK)
    rows = left_out
    for case in cases:
        rows += _rows(case, *turns[case.name], kept if held else None)
        rows += _against(case, turns, held)
    for case in cases:
        if isinstance(case, _session_ours.Ours) and case.name != "memcached":
            # what stopped with the server was in the middle of a round
            case.as_apache(case.full_sweep)
            case.expire(expired)
            rows.append(_full_sweep(case, len(expired), held))
    return rows


def _rows(case, quiet, sweeping, kept):
    """Return the rows of one case by itself; *kept* is the bar of its rate while sweeping."""

    def figures(turns, name):
        return [getattr(found.rate, name) for found in turns]

    name, swept = case.name, f"{case.name}, sweeping"
    held = kept is not None and name.startswith(_DEFAULT)
    share = ratio(figures(sweeping, "per_second"), figures(quiet, "per_second"))
    slower = ratio(figures(sweeping, "p99"), figures(quiet, "p99"))
    grown = statistics.median(
        after.megabytes - before.megabytes for before, after in zip(quiet, sweeping, strict=True)
    )
    deleted = statistics.median(found.swept for found in sweeping)
    return [
        _row(f"{name}, p50", figures(quiet, "p50"), "ms"),
        _row(f"{name}, p99", figures(quiet, "p99"), "ms"),
        _row(
            f"{swept} ({case.sweep})",
            figures(sweeping, "per_second"),
            "requests/s",
            "no sweep",
            share,
            f">= {kept}" if held else None,
            share >= kept if held else None,
        ),
        _row(f"{swept}, p50", figures(sweeping, "p50"), "ms"),
        _row(
            f"{swept}, p99",
            figures(sweeping, "p99"),
            "ms",
            "no sweep",
            slower,
            f"<= {_SLOWER}" if held else None,
            slower <= _SLOWER if held else None,
        ),
        _row(
            f"{swept}, largest child",
            [grown],
            "MB more",
            bar=f"<= {_GROWTH}" if held else None,
            holds=grown <= _GROWTH if held else None,
        ),
        _row(f"{swept}, deleted in a turn", [deleted], "sessions"),
    ]


def _against(case, turns, held):
    """Return the rows of a case's rate against the sessions of mod_python."""

    def rates(name):
        return [found.rate.per_second for found in turns[name][0]]

    def cpu(name):
        return [found.cpu for found in turns[name][0]]

    rows = []
    for rival, times in _TIMES.items():
        if rival in turns and rival != case.name:
            against = ratio(rates(case.name), rates(rival))
            bar = held and case.name == _DEFAULT
            rows.append(
                _row(
                    case.name,
                    rates(case.name),
                    "requests/s",
                    rival,
                    against,
                    f">= {times}" if bar else None,
                    against >= times if bar else None,
                )
            )
            share = ratio(cpu(case.name), cpu(rival))
            most = _CPU.get(case.name) if rival == _STOCK else None
            rows.append(
                _row(
                    f"{case.name}, CPU of the children",
                    cpu(case.name),
                    "us a request",
                    rival,
                    share,
                    f"<= {most}" if most else None,
                    share <= most if most else None,
                )
            )
    if not rows:
        rows.append(_row(case.name, rates(case.name), "requests/s"))
        rows.append(_row(f"{case.name}, CPU of the children", cpu(case.name), "us a request"))
    return rows + _own(case, turns)


def _own(case, turns):
    """Return the rows of what a session itself costs."""

    def own(name):
        return [found.own for found in turns[name][0]]

    name = case.name
    rows = []
    for rival, most in _OWN.items():
        if rival in turns and rival != name:
            share, is_held = ratio(own(name), own(rival)), name in _CPU
            rows.append(
                _row(
                    f"{name}, the session's own CPU",
                    own(name),
                    "us a request",
                    rival,
                    share,
                    f"<= {most}" if is_held else None,
                    share <= most if is_held else None,
                )
            )
    if not rows:
        rows.append(_row(f"{name}, the session's own CPU", own(name), "us a request"))
    return rows


def _full_sweep(case, expired, held):
    seconds, deleted = case.as_apache(case.full_sweep)
    if deleted < expired:
        raise RuntimeError(f"{case.name}: {deleted} of {expired} sessions were swept")
    bar = held and case.name == _DEFAULT
    return _row(
        f"{case.name}, a sweep without rests, {deleted} deleted",
        [seconds],
        "s CPU",
        bar=f"<= {_SWEEP_SECONDS}" if bar else None,
        holds=seconds <= _SWEEP_SECONDS if bar else None,
    )


def _row(case, figures, unit, rival=None, against=None, bar=None, holds=None):
    value = float(statistics.median(figures))
    return row("sessions", case, value, unit, rival, against, bar, holds)


def _file_system(path) -> str:
    command = ["stat", "--file-system", "--format=%T", os.fspath(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
