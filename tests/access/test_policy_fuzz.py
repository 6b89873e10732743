"""A policy with anything wrong in it is refused in words, and never with another error."""

from __future__ import annotations

from importlib import resources

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from access.policy import PolicyError, load_policy, parse_policy

SHIPPED = resources.files("access").joinpath("policy.yaml").read_text(encoding="utf-8")
LINES = SHIPPED.splitlines()
SCRAPS = st.sampled_from(
    ["2026-99-99", "!!python/object:os.system", "*nothing", "&a [*a]", "{", "]", "null", "1e999", "\x00", "0o9", "~: ~"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The shipped policy with some lines taken out, doubled, moved, cut, or replaced by scraps."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.integers(0, 4))
        line = lines[at]
        indent = line[: len(line) - len(line.lstrip())]
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(draw(st.integers(0, len(lines))), line)
        elif kind == 2:
            lines[at] = line[: draw(st.integers(0, len(line)))]
        elif kind == 3:
            key, colon, _ = line.partition(":")
            lines[at] = f"{key}{colon} {draw(SCRAPS | st.text(max_size=20))}"
        else:
            lines.insert(at, indent + draw(SCRAPS | st.text(max_size=20)))
        if not lines:
            break
    return "\n".join(lines)


def judged(text: str) -> None:
    try:
        policy = parse_policy(text)
    except PolicyError as error:
        assert str(error)
    else:
        assert policy.digest


@settings(max_examples=40, deadline=None, derandomize=True)
@given(mutated())
def test_a_mutated_policy_is_taken_or_refused_in_words(text: str) -> None:
    judged(text)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text() | SCRAPS | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(yaml.safe_dump))
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    judged(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 2026-99-99",
        "[" * 5000,
        "a: !!binary x",
        "? [a]\n: b",
        "\ud800",
        "",
        "a: &x [*x]",
        "a: !!int",
        "a: !!bool maybe",
        "a: !!timestamp today",
        f"a: {'1:' * 300}1.0",
        '"\\UFFFFFFFF"',
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_was_found_once_is_refused_in_words(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text)


def test_a_value_that_cannot_be_is_refused_with_its_place() -> None:
    with pytest.raises(PolicyError, match=r"'maybe' is no .*bool.*\n.*line 2, column 25"):
        parse_policy("identities:\n  a: {kafka_super_user: !!bool maybe}")


@pytest.mark.parametrize(
    "text",
    [
        "identities: {}\nidentities: {a: {note: x}}",
        "identities:\n  a: {note: x, keys: [OPEN]}\n  'a': {note: y}",
        "identities: {a: {note: x, note: x}}",
    ],
)
def test_a_name_that_stands_twice_is_refused_and_never_the_last_one_taken(text: str) -> None:
    """Two identities of one name, and the rights of the first would silently be gone."""
    with pytest.raises(PolicyError, match="stands twice"):
        parse_policy(text)


def test_what_is_brought_by_reference_may_be_said_anew() -> None:
    text = "identities:\n  a: &a {note: x, keys: [OPEN]}\n  b: &b {<<: *a, note: y}\n  c: {<<: *b, keys: []}"
    found = parse_policy(text).identities
    assert [(found[name].note, found[name].keys) for name in "abc"] == [("x", ("OPEN",)), ("y", ("OPEN",)), ("y", ())]


def test_half_a_character_in_a_policy_is_refused_before_anything_is_made_of_it() -> None:
    with pytest.raises(PolicyError, match="ud800"):
        parse_policy('identities: {a: {note: "\\ud800"}}')


def test_the_shipped_one_is_taken() -> None:
    assert parse_policy(SHIPPED) == load_policy()
