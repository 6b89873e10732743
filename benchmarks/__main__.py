"""Runs every benchmark module that has a `run`, or those that are named, and prints their figures.

A module is one file of this package with `def run() -> list[Figure]`. One that fails is named at the end, after the
others' figures, and makes the exit code 1; a missed aim does not. They share one stack, started for
them; those that say `ALONE` run after it is gone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from contextlib import nullcontext
from types import ModuleType

import benchmarks
from benchmarks._stack import running_stack
from benchmarks.figures import print_table

_NO_BENCHMARKS = {"__main__", "figures"}


def main() -> int:
    """Run them; 0 when all ran."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    names = [name for name in names if name not in _NO_BENCHMARKS and not name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which; all when none is named: {', '.join(names)}")
    asked = parser.parse_args().name or names
    if unknown := sorted(set(asked) - set(names)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    failed: list[str] = []
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}", flush=True)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in asked}
    alone = [name for name, module in modules.items() if getattr(module, "ALONE", False)]
    sharing = [name for name in modules if name not in alone]
    with running_stack() if sharing else nullcontext():
        failed += [line for name in sharing if (line := _measure(name, modules[name]))]
    failed += [line for name in alone if (line := _measure(name, modules[name]))]
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _measure(name: str, module: ModuleType) -> str | None:
    """Run one benchmark and print its figures; a sentence when it failed."""
    try:
        print_table(name, module.run())
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
