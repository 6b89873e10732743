"""Compares the jars that Maven brought with the hashes that the repository keeps: `python stack/jars.py kafka spark`.

Maven asks a repository for a version, and keeps what it is given. Here a file that is another, one too many or
missing ends `make`, as pip does for packages. `--write` writes the hashes of what lies there, after a version was
changed on purpose.
Runs before there is a .venv: it needs Python alone.

Limits: Darkroom's own jars are built here and have no hash; Maven's plugins are checked by Maven alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

_JVM = Path(__file__).resolve().parent.parent / "jvm"
_OWN = "darkroom-"


def main() -> int:
    """Compare; 1 where something differs."""
    parser = argparse.ArgumentParser(prog="stack/jars.py", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="of jvm/target; those that the hashes name, when none is named")
    parser.add_argument("--write", action="store_true", help="keep the hashes of what lies there in these folders")
    parser.add_argument("--hashes", type=Path, default=_JVM / "jars.sha256", help="the file of hashes")
    parser.add_argument("--target", type=Path, default=_JVM / "target", help="where the folders are")
    asked = parser.parse_args()
    kept = _read(asked.hashes)
    folders = asked.folders or sorted({name.split("/")[0] for name in kept})
    found = {name: digest for folder in folders for name, digest in _jars(asked.target, folder).items()}
    others = {name: digest for name, digest in kept.items() if name.split("/")[0] not in folders}
    if asked.write:
        lines = [f"{digest}  {name}\n" for name, digest in sorted({**others, **found}.items())]
        asked.hashes.write_text("".join(lines))
        sys.stdout.write(f"{len(found)} hashes of {', '.join(folders)} are in {asked.hashes}.\n")
        return 0
    wrong = differences({name: kept[name] for name in kept if name not in others}, found)
    if wrong:
        named = [f"{asked.target}/{line}" for line in wrong]
        todo = (
            f"These are not the jars that {asked.hashes} names, and none of them was run. Remove them, and what Maven "
            "keeps of them (~/.m2/repository), and run make again; after a change of a pom.xml: `make lock-jars`."
        )
        sys.stderr.write("\n".join([*named, todo, ""]))
    return 1 if wrong else 0


def differences(kept: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What is another, too many or missing, a sentence each; both by `folder/file`, as SHA-256 in hex."""
    both = sorted(kept.keys() & found.keys())
    changed = [f"{one}: its SHA-256 is {found[one]}, not {kept[one]}." for one in both if kept[one] != found[one]]
    unknown = [f"{one}: nobody has a hash of it." for one in sorted(found.keys() - kept.keys())]
    missing = [f"{one}: it is missing." for one in sorted(kept.keys() - found.keys())]
    return [*changed, *unknown, *missing]


def _read(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    kept = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        digest, _, name = line.partition("  ")
        if not name:
            raise SystemExit(
                f"{file}, line {number}: a SHA-256, two blanks and folder/file were expected, not {line!r}."
            )
        kept[name] = digest
    return kept


def _jars(target: Path, folder: str) -> dict[str, str]:
    jars = (one for one in sorted((target / folder).glob("*.jar")) if not one.name.startswith(_OWN))
    return {f"{folder}/{one.name}": hashlib.sha256(one.read_bytes()).hexdigest() for one in jars}


if __name__ == "__main__":
    sys.exit(main())
