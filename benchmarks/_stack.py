"""A stack of the benchmarks' own, started by the command a person types, in a folder that is removed afterwards.

`DARKROOM_BENCH_HOME` names the home of a stack that runs already, to be used as it is and left running.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stack.paths import Layout
from stack.state import stack_settings

DARKROOM = Path(sys.executable).with_name("darkroom")
IDENTITY = "admin"


def darkroom(home: Path, *arguments: str) -> str:
    """Run the command on a stack and give back what it printed; its failure ends the benchmark with what it said."""
    done = subprocess.run(
        [str(DARKROOM), "--home", str(home), *arguments], capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode != 0:
        raise RuntimeError(f"darkroom {' '.join(arguments)} gave {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def status(home: Path) -> dict[str, Any]:
    """`darkroom status --json`."""
    return json.loads(darkroom(home, "status", "--json"))


def as_gateway(home: Path) -> ssl.SSLContext:
    """TLS of the gateway towards the services behind it, for what is measured of one instance."""
    layout = Layout(home)
    context = ssl.create_default_context(cafile=str(layout.ca))
    context.load_cert_chain(layout.hop_certificate, layout.hop_key)
    return context


@contextmanager
def running_stack() -> Iterator[Path]:
    """Home of a running stack; `DARKROOM_*` of this process then name it, with the identity that may make topics."""
    named = os.environ.get("DARKROOM_BENCH_HOME")
    area = None if named else Path(tempfile.mkdtemp(prefix="darkroom-bench-"))
    if area is not None:
        # PostgreSQL's account must be able to pass through.
        area.chmod(0o711)
    home = Path(named).absolute() if named else (area or Path()) / "home"
    try:
        if area is not None:
            darkroom(home, "up")
        settings = stack_settings(home, IDENTITY)
        given = settings.model_dump(mode="json", include=settings.model_fields_set)
        os.environ.update(
            {f"DARKROOM_{name.upper()}": str(value) for name, value in given.items() if isinstance(value, str)}
        )
        yield home
    finally:
        if area is not None:
            darkroom(home, "down")
            darkroom(home, "wipe", "--yes")
            shutil.rmtree(area, ignore_errors=True)
