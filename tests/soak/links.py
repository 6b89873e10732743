"""Links that are cut or slow: the packets to a server's port are dropped, and its connections know nothing of it.

It rests on Linux and nft. The soak lives in a network of its own (a namespace), whose one link is its loopback, so that
no other program of the machine is struck; there it needs no rights that it would not have given itself. Limit: a server
is cut off from all of its clients at once, and its own connections to others stay.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OWN_NETWORK = "DARKROOM_SOAK_NETWORK"
"""In the environment of a soak that is in its own network."""
SLOW_KILOBYTES = 64
"""A second, of a slow link: less than a photograph."""
_TABLE = "darkroom_soak"


def can_be_had() -> bool:
    """Whether this process may have a network of its own, and change its rules."""
    if None in (shutil.which("unshare"), shutil.which("ip"), shutil.which("nft")):
        return False
    return _in_own_network(["nft", "list", "ruleset"], capture=True) == 0


def own_network() -> bool:
    """Whether this process is in a network of the soak's own."""
    return os.environ.get(OWN_NETWORK) == "1"


def again_in_own_network() -> int:
    """Run this very command in a network of its own; its exit code."""
    return _in_own_network([sys.executable, "-m", *_module(), *sys.argv[1:]])


def _module() -> list[str]:
    main = sys.modules["__main__"].__spec__
    assert main is not None, "Run it as `python -m`, so that it can be run again."
    return [main.name.removesuffix(".__main__")]


def _in_own_network(command: list[str], *, capture: bool = False) -> int:
    # The new network's loopback is down at first.
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    environment = {**os.environ, OWN_NETWORK: "1"}
    return subprocess.run(inside, check=False, capture_output=capture, env=environment).returncode


@contextmanager
def cut(ports: list[int]) -> Iterator[None]:
    """Nothing arrives at these ports."""
    with _dropping([f"tcp dport {port} drop" for port in ports]):
        yield


@contextmanager
def slow(ports: list[int]) -> Iterator[None]:
    """What arrives at these ports is dropped beyond `SLOW_KILOBYTES` a second."""
    with _dropping([f"tcp dport {port} limit rate over {SLOW_KILOBYTES} kbytes/second drop" for port in ports]):
        yield


@contextmanager
def _dropping(rules: list[str]) -> Iterator[None]:
    if not own_network():
        raise RuntimeError("Links are cut in a network of the soak's own only; this one is the machine's.")
    chain = "{ type filter hook input priority 0; policy accept; }"
    _nft(f"add table inet {_TABLE}", f"add chain inet {_TABLE} arriving {chain}")
    try:
        _nft(*(f"add rule inet {_TABLE} arriving {rule}" for rule in rules))
        yield
    finally:
        _nft(f"delete table inet {_TABLE}")


def _nft(*lines: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input="\n".join(lines), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"nft gave {done.returncode} for {lines}: {done.stderr.strip()}")
