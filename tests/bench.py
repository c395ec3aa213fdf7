"""Benchmarks, rivals side by side in one interleaved run: ``tests/bench.py NAME [--json]``.

Machines are noisy, so each figure is the median over rounds of the ratio within a round.
"""

import argparse
import importlib
import json
import pathlib
import pkgutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests import benchmarks

NAMES = sorted(
    module.name.replace("_", "-")
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_")
)


def main(arguments):
    name = arguments[0] if arguments and arguments[0] in NAMES else None
    parser = argparse.ArgumentParser(prog="tests/bench.py", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--rounds", type=int, default=9, help="take the median of so many (9)")
    module = None
    if name:
        module = importlib.import_module(f"tests.benchmarks.{name.replace('-', '_')}")
        if hasattr(module, "add_arguments"):
            module.add_arguments(parser)
    args = parser.parse_args(arguments)
    rows = module.run(args)
    if args.json:
        for row in rows:
            print(json.dumps(row))
    else:
        print_table(rows)
    return 0 if all(row["holds"] is not False for row in rows) else 1


def print_table(rows):
    heads = ("case", "value", "unit", "rival", "ratio", "bar", "holds")
    table = [heads]
    for row in rows:
        table.append(tuple(text(row[head]) for head in heads))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def text(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
