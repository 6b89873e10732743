"""Every target on its seeds, on what was found and on some mutations, without atheris: so that no target rots, and
nothing that was found comes back. And that the harness finds what there is to find."""

from __future__ import annotations

import importlib.util
import logging
import random
import subprocess
import sys
from pathlib import Path

import pytest

from access.policy import parse_policy
from resources.opening import Opened
from tests.fuzz import __main__ as command
from tests.fuzz import doors, files, records, seeds
from tests.fuzz.careless import careless
from tests.fuzz.found import FOUND
from tests.fuzz.harness import TARGETS, mutated, pieces, refusal
from transforms.envelope import clear_of
from transforms.images import Developed, develop

ROOT = Path(__file__).parents[2]
MUTATIONS = 150
EVERY = pytest.mark.parametrize("name", sorted(TARGETS))
ATHERIS = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="no atheris here: it has wheels for Linux on x86-64 alone, where `make test` installs it and this test runs",
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """It says of each form what is wrong with it."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


@EVERY
def test_seeds_and_mutations_of_them_are_taken_or_refused_as_documented(name: str) -> None:
    target = TARGETS[name]
    chance = random.Random(name)
    valid = target.seeds()
    for data in [*valid, b"", *(mutated(valid, chance) for _ in range(MUTATIONS))]:
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"the input: {data!r}")
            raise


@pytest.mark.parametrize(("name", "did", "data"), [(name, *one) for name, found in FOUND.items() for one in found])
def test_what_was_found_is_not_found_again(name: str, did: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_seeds_are_valid_so_that_a_search_begins_behind_the_first_refusal() -> None:
    """Of those targets that refuse most of what is mutated."""
    assert clear_of(seeds.headers_in(seeds.headers()[0])) == records.CLEAR
    assert [
        isinstance(records.opened(records.landed(records.Record(one)), "accept"), Opened) for one in seeds.records()
    ] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert all(parse_policy(one.decode()) for one in seeds.policies())
    developed = [isinstance(develop(one, files.LIMITS), Developed) for one in seeds.images()]
    assert developed.count(False) == 3, "a drawing of vectors, a format that is not taken, and no image"
    for one in seeds.tokens()[1:]:
        assert doors.VERIFIER.judge(doors.signed(*pieces(one, 2))).principal.subject == "alice"


def test_an_exception_that_is_no_documented_refusal_is_a_finding_and_so_is_a_refusal_without_words() -> None:
    careless(b"v1fine")
    with pytest.raises(KeyError):
        careless(b"v1bug")
    with pytest.raises(AssertionError, match="says nothing"), refusal(ValueError):
        raise ValueError
    with pytest.raises(UnicodeEncodeError), refusal(ValueError):
        raise ValueError("half a character: \ud800")


@ATHERIS
def test_the_search_finds_what_is_behind_two_comparisons_and_keeps_the_input(tmp_path: Path) -> None:
    code = (
        "import atheris, sys; from pathlib import Path; from tests.fuzz.careless import careless;"
        "from tests.fuzz.__main__ import Target, search; bad = atheris.instrument_func(careless);"
        "search(Target('careless', bad, lambda: [b'v0']), 200, Path(sys.argv[1]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode != 0 and "KeyError" in ran.stdout + ran.stderr
    (kept,) = (tmp_path / "careless" / "found").iterdir()
    with pytest.raises(KeyError):
        careless(kept.read_bytes())


def test_an_unknown_target_is_answered_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "loaded", lambda: True)
    monkeypatch.setattr(sys, "argv", ["fuzz", "envelop"])
    with pytest.raises(SystemExit):
        command.main()
    assert "'envelop'" in (told := capsys.readouterr().err) and all(name in told for name in TARGETS)


def test_without_atheris_the_command_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["fuzz", "all"])
    assert command.main() == 2
    assert "make fuzz" in capsys.readouterr().err


def test_the_whole_is_one_search_after_the_other_and_one_finding_fails_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: list[str] = []

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(words[3])
        return subprocess.CompletedProcess(words, 77 if words[3] == "image" else 0)

    monkeypatch.setattr(command, "loaded", lambda: True)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["fuzz", "all", "--corpus", str(tmp_path)])
    assert command.main() == 1
    assert asked == sorted(TARGETS)
    assert "image: FOUND" in capsys.readouterr().out
