"""Runs every benchmark module that has a `run`, or those that are named, and prints their figures.

A module is one file of this package with `def run() -> list[Figure]`, and `draw(figures, folder)` where there is a
picture to draw of them beside the page. One that fails is named at the end, after the others' figures, and makes the
exit code 1; a missed aim does not. They share one stack, started for them; those that say `ALONE` run after it is gone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks._stack import running_stack
from benchmarks.figures import print_table
from benchmarks.page import put_section

_NO_BENCHMARKS = {"__main__", "figures", "page"}
VERSIONS = ("dagster", "deltalake", "polars", "pyarrow", "confluent-kafka", "pyspark", "numpy", "pillow")
"""Distributions whose versions a figure may hang on."""


def main() -> int:
    """Run them; 0 when all ran."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    names = [name for name in names if name not in _NO_BENCHMARKS and not name.startswith("_")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which; all when none is named: {', '.join(names)}")
    parser.add_argument("--page", type=Path, help="a page of Markdown to write the figures into, section by section")
    given = parser.parse_args()
    asked, page = given.name or names, given.page
    if unknown := sorted(set(asked) - set(names)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    failed: list[str] = []
    print(_here(), flush=True)
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in asked}
    alone = [name for name, module in modules.items() if getattr(module, "ALONE", False)]
    sharing = [name for name in modules if name not in alone]
    with running_stack() if sharing else nullcontext():
        failed += [line for name in sharing if (line := _measure(name, modules[name], page))]
    failed += [line for name in alone if (line := _measure(name, modules[name], page))]
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _measure(name: str, module: ModuleType, page: Path | None) -> str | None:
    """Run one benchmark and print its figures, into the page as well; a sentence when it failed."""
    said = f"{datetime.now(UTC):%d %B %Y}; {_here()}."
    try:
        figures = module.run()
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    print_table(name, figures)
    if page is not None:
        page.write_text(put_section(page.read_text(), name, module.__doc__ or "", said, figures))
        if hasattr(module, "draw"):
            module.draw(figures, page.parent)
    return None


def _here() -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load}; Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    sys.exit(main())
