"""An old commit and the working tree side by side: what each costs, and what each counts in virtual time.

    python -m benchmarks compare REV [--short]

Costs are medians of nine rounds, each tree in a fresh process and in turn; a ratio is the median of the rounds' ratios.
Counts come by fixed seeds: they are the same where behaviour is, and those that differ are listed. What is measured
is in `sides`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Report, ratio

TREE = Path(__file__).parents[1]
ROUNDS = 9
CHILD = """
import json, sys, time
times = [time.process_time()]
import omgmj
times.append(time.process_time())
omgmj.Session
times.append(time.process_time())
spans = zip(("omgmj", "Session"), times, times[1:])
costs = {f"import of {what}, ms": 1e3 * (end - begin) for what, begin, end in spans}
from benchmarks import sides
short = "short" in sys.argv
costs |= sides.costs(short=short)
print(json.dumps([omgmj.__file__, costs, sides.counts(short=short) if "count" in sys.argv else {}]))
"""
"""What runs in a process of its own; the imports are measured before anything else is imported."""


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """Give a folder with the package as it was at a commit."""
    command = ["git", "-C", str(TREE), "archive", revision, "omgmj"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 (of this repository)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
        yield Path(folder)


def measured(tree: Path, *words: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return costs and counts of the package in `tree`, from a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{TREE}", "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", CHILD, *words]
    done = subprocess.run(command, check=True, cwd=tree, env=environment, stdout=subprocess.PIPE)  # noqa: S603 (ourselves)
    file, costs, counts = json.loads(done.stdout)
    assert Path(file).is_relative_to(tree), f"{file} was measured"
    return costs, counts


def main(arguments: list[str]) -> None:
    """Measure both trees in turn, and print a table of costs and one of counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__.partition("\n")[0])
    parser.add_argument("revision", metavar="REV", help="the commit to compare with")
    parser.add_argument("--short", action="store_true", help="a short pass: that it runs, not what it costs")
    chosen = parser.parse_args(arguments)
    words = ["short"] if chosen.short else []
    with checked_out(chosen.revision) as old:
        trees = (old, TREE)
        (_, counts), (_, now) = (measured(tree, "count", *words) for tree in trees)
        # Each goes first every other time.
        orders = [trees, trees[::-1]] * ROUNDS
        rounds = [
            {tree: measured(tree, *words)[0] for tree in order} for order in orders[: 2 if chosen.short else ROUNDS]
        ]
    rows = []
    for name in rounds[0][old]:
        before, after = ([both[tree][name] for both in rounds] for tree in trees)
        rows.append(
            (name, *(f"{statistics.median(one):.1f}" for one in (before, after)), f"{ratio(after, before):.3f}x")
        )
    head = ("CPU", chosen.revision, "working tree", "new/old")
    print(Report(head, rows, [], [], "", []))
    differ = [(name, f"{one:g}", f"{now[name]:g}", "differs") for name, one in counts.items() if now[name] != one]
    print(f"\n{len(counts)} counts in virtual time, {len(differ)} of them differ")
    print(Report(("count", *head[1:]), differ, [], [], "", []))
