"""From a fresh clone to the finished demo, by the command of the README, with its parts.

The clone is of the last commit. Downloads come from whatever caches pip, uv and Maven have on this machine.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure

ALONE = True
"""Whether this benchmark wants no other stack beside it."""

STEPS = {"install": "install", "jars": "jars", "up": "up", "demo": "demo"}


def run() -> list[Figure]:
    """One clone, then each part of `make demo` in turn: what is done is not done again by the next."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="darkroom-clone-") as folder:
        Path(folder).chmod(0o711)
        clone = Path(folder) / "darkroom"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DARKROOM_", "VIRTUAL_ENV"))}
        seconds: dict[str, float] = {}
        try:
            for name, target in STEPS.items():
                started = time.monotonic()
                done = subprocess.run(
                    ["make", target], cwd=clone, env=own, capture_output=True, text=True, check=False, timeout=1800
                )
                if done.returncode != 0:
                    raise RuntimeError(f"make {target} gave {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
                seconds[name] = time.monotonic() - started
        finally:
            command = clone / ".venv" / "bin" / "darkroom"
            if command.exists():
                for words in (["down"], ["wipe", "--yes"]):
                    subprocess.run([str(command), *words], cwd=clone, env=own, capture_output=True, check=False)
    parts = [Figure(f"  make {STEPS[name]}", value, "s") for name, value in seconds.items()]
    return [Figure("fresh clone to finished demo", sum(seconds.values()), "s"), *parts]
