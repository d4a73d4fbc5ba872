"""Run benchmarks: `python -m benchmarks [NAME…] [--short] [--check]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys

from benchmarks import query_cost

ALL = {"query_cost": query_cost.run}


def main() -> None:
    """Run those that are named, or all, and print a table each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all where none is given")
    parser.add_argument("--short", action="store_true", help="a short pass: that they run, not what they cost")
    parser.add_argument("--check", action="store_true", help="fail where a ratio is worse than its bound")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(ALL):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
    )
    for name in arguments.names or ALL:
        print(f"\n{name}\n\n{ALL[name](short=arguments.short, check=arguments.check)}")


if __name__ == "__main__":
    main()
