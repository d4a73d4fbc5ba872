"""Run benchmarks: `python -m benchmarks [NAME…] [--short] [--check] [--write]`, or `compare`, `tune`.

`python -m benchmarks worlds --half tuned` or `held-back` plays one half of the worlds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys

from benchmarks import (
    callbacks,
    compare,
    decode,
    delays,
    download,
    economics,
    fuzz,
    journal,
    kill9,
    outage,
    pace,
    poll_path,
    query_cost,
    scale,
    soak,
    sweeps,
    tune,
    verdicts,
)
from benchmarks.fleet import figures as fleet
from benchmarks.report import write_readme
from benchmarks.worlds import figures as worlds

ALL = {
    "query_cost": query_cost.run,
    "decode": decode.run,
    "scale": scale.run,
    "economics": economics.run,
    "sweeps": sweeps.run,
    "download": download.run,
    "poll_path": poll_path.run,
    "verdicts": verdicts.run,
    "pace": pace.run,
    "outage": outage.run,
    "kill9": kill9.run,
    "fleet": fleet.run,
    "soak": soak.run,
    "fuzz": fuzz.run,
    "callbacks": callbacks.run,
    "journal": journal.run,
    "worlds": worlds.run,
    "delays": delays.run,
}


TOOLS = {"compare": compare.main, "tune": tune.main}
"""What has arguments of its own, and no bounds."""


def main() -> None:
    """Run those that are named, or all, and print a table each."""
    if sys.argv[1:2] and sys.argv[1] in TOOLS:
        TOOLS[sys.argv[1]](sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all where none is given")
    parser.add_argument("--without", nargs="+", default=(), metavar="NAME", help="leave these out")
    parser.add_argument("--short", action="store_true", help="a short pass: that they run, not what they cost")
    parser.add_argument("--check", action="store_true", help="fail where a figure is worse than its bound")
    parser.add_argument(
        "--write", action="store_true", help="write tables and pictures into benchmarks/results and README"
    )
    parser.add_argument("--half", choices=worlds.HALVES, help="of worlds, this half; it is written apart")
    arguments = parser.parse_args()
    if unknown := {*arguments.names, *arguments.without} - set(ALL):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    machine = (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    print(machine, flush=True)
    for name in arguments.names or (name for name in ALL if name not in arguments.without):
        is_half = arguments.half and name == "worlds"
        report = worlds.run(short=arguments.short, half=arguments.half) if is_half else ALL[name](short=arguments.short)
        print(f"\n{name}\n\n{report}", flush=True)
        if arguments.write:
            report.write(f"{name}-{arguments.half}" if is_half else name, machine)
        if arguments.check:
            report.hold()
    if arguments.write:
        write_readme(ALL)


if __name__ == "__main__":
    main()
