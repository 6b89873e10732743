"""`python -m tests.fuzz TARGET --seconds N`: search one target, or all one after the other, until time is up or a
finding stops it."""

from __future__ import annotations

import argparse
import importlib
import logging
import subprocess
import sys
from pathlib import Path

from tests.fuzz.harness import INSTRUMENTED, TARGETS, WORDS, Target

MODULES = ("records", "files", "doors")
LARGEST = 8192
"""Bytes of an input; larger ones find little more, and slowly."""
SLOWEST_SECONDS = 60
"""An input that runs longer is a finding: it would hold a worker."""
MOST_MEMORY_MB = 2048

WITHOUT = """atheris is not installed, and without it there is no search guided by coverage. On Linux with x86-64:
    make fuzz TARGET=... SECONDS=60       (installs it from requirements-fuzz.lock)
Elsewhere tests/fuzz/test_corpus.py runs every target on seeds, findings and mutations without it."""


def loaded() -> bool:
    """Import the targets, with what they reach watched where atheris is there; whether it is."""
    try:
        import atheris
    except ImportError:
        import_targets()
        return False
    with atheris.instrument_imports(include=INSTRUMENTED):
        import_targets()
    return True


def import_targets() -> None:
    """Fill `TARGETS`, with nothing watched."""
    for name in MODULES:
        importlib.import_module(f"tests.fuzz.{name}")


def search(target: Target, seconds: int, corpus: Path) -> None:
    """Search; ends this process, with 0 where nothing was found.

    Args:
        target: where to search.
        seconds: for how long.
        corpus: folder that keeps what ran new lines, for the next search, and what was found.
    """
    import atheris

    # What a parser logs of each input is of no use here, and takes longer than parsing.
    logging.disable()
    kept, seeds, found = (corpus / target.name / name for name in ("kept", "seeds", "found"))
    for folder in (kept, seeds, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(seed)
    words = corpus / target.name / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS))
    options = [
        f"-dict={words}",
        f"-max_total_time={seconds}",
        f"-max_len={LARGEST}",
        f"-timeout={SLOWEST_SECONDS}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([target.name, *options, str(kept), str(seeds)], target.run)
    atheris.Fuzz()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", help="the target to search, or `all`; an unknown one is answered with their names")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument(
        "--corpus", type=Path, default=Path("build/fuzz"), help="folder that keeps what was found (build/fuzz)"
    )
    asked = parser.parse_args()
    watched = loaded()
    if asked.target != "all" and asked.target not in TARGETS:
        parser.error(f"there is no target {asked.target!r}; there are: all, {', '.join(sorted(TARGETS))}")
    if asked.seconds < 1:
        parser.error("--seconds is at least 1; a search of 0 seconds would never end")
    if not watched:
        print(WITHOUT, file=sys.stderr)
        return 2
    if asked.target != "all":
        search(TARGETS[asked.target], asked.seconds, asked.corpus)
    # A search ends its process: each has one of its own.
    rest = ["--seconds", str(asked.seconds), "--corpus", str(asked.corpus)]
    ended = {
        name: subprocess.run([sys.executable, "-m", "tests.fuzz", name, *rest]).returncode for name in sorted(TARGETS)
    }
    for name, code in ended.items():
        print(
            f"{name}: {f'FOUND (in {asked.corpus / name}/found; the error stands above)' if code else 'nothing found'}"
        )
    return 1 if any(ended.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
