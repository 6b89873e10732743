"""A parser with a bug, for the tests of the harness."""

from tests.fuzz.harness import refusal


def careless(data: bytes) -> None:
    """Refuses what is not version 1, and has a bug behind two comparisons."""
    with refusal(ValueError):
        if data[:2] == b"v1":
            if data[2:] == b"bug":
                raise KeyError("of no list")
            raise ValueError("not what version 1 says")
