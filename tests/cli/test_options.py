"""The options that commands share, without a stack: nothing is looked at before what is missing is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live_stack import run_darkroom

DAY = "2001-02-03"


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        (("erase", "x", "--yes"), "in the audit log"),
        (("accept-loss", "--yes"), "in the history of bronze"),
        (("reland", "--from", "0", "--yes"), "in the history of bronze"),
        (("labels", "trust", "x", "--day", DAY, "--yes"), "with the verdict"),
        (("keys", "destroy", DAY, "--yes-destroy", DAY), "in the audit log"),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_what_is_done_for_good_needs_a_reason(tmp_path: Path, command: tuple[str, ...], kept: str):
    option = next(word for word in command if word.startswith("--yes"))
    for why in ((), ("--why", " ")):
        done = run_darkroom(tmp_path, *command, *why)
        assert done.returncode == 2
        said = " ".join(done.stderr.replace("│", " ").split())
        assert f"{option} needs --why TEXT: it is kept {kept}." in said
