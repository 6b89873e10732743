"""The environment of the stack's processes: little of the caller's, and the settings of one identity.

No variable holds a secret: a process finds its identity's key by a path, in a file that only its account reads.
"""

from __future__ import annotations

import functools
import os
import sys
from hashlib import sha256
from pathlib import Path

from access.policy import load_policy
from resources.settings import Settings
from stack.paths import Layout
from stack.processes import STACK
from stack.state import StackState, identity_overrides

# What of the caller's environment a service may see. Locale and folders; nothing that could hold a secret.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "USER", "LOGNAME")


def base_environment(state: StackState) -> dict[str, str]:
    """What every process of the stack sees: a few names of the caller, UTF-8, and whose it is."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    programs = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": f"{programs}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        # The working folder must not be able to stand in for an installed package.
        "PYTHONSAFEPATH": "1",
        STACK: state.id,
    }


def environment_of(layout: Layout, state: StackState, identity: str) -> dict[str, str]:
    """The settings of one identity, by environment; the caller's own DARKROOM_* settings stand below them."""
    given = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields} | {"DARKROOM_CONFIG"}
    callers = {name: value for name, value in os.environ.items() if name in given}
    own = {f"DARKROOM_{name.upper()}": value for name, value in identity_overrides(layout, state, identity).items()}
    toml = layout.home / "darkroom.toml"
    # Not read by anyone: a changed file, or policy, changes the environment, and so `up` starts the service anew.
    mark = sha256(toml.read_bytes()).hexdigest()[:16] if toml.is_file() else "none"
    return {**callers, **own, "DARKROOM_FILE_MARK": mark, "DARKROOM_POLICY_MARK": _digest()}


def spilling(layout: Layout) -> dict[str, str]:
    """Where Spark spills, drivers (which are runs) and executors: else the system's temporary folder."""
    return {"SPARK_LOCAL_DIRS": str(layout.spilled)}


@functools.cache
def _digest() -> str:
    """Which policy this distribution carries."""
    return load_policy().digest
