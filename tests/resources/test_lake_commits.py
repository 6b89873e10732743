"""Working out and committing again where other writers are first: what is given back, and when it ends."""

import pytest

from resources.lake import CommitConflict, LakeFull
from resources.lake_commits import until_committed


class Attempts:
    """An attempt that fails so often with these errors, and then says which one it was."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.done: list[str] = []

    def __call__(self) -> int:
        self.done.append("attempt")
        if self.errors:
            raise self.errors.pop(0)
        return len(self.done)

    def look_again(self) -> None:
        self.done.append("look again")


def test_the_table_is_looked_at_again_between_two_attempts():
    attempts = Attempts(CommitConflict("first"), CommitConflict("second"))
    assert until_committed(attempts, attempts.look_again) == 5
    assert attempts.done == ["attempt", "look again", "attempt", "look again", "attempt"]


def test_the_last_conflict_is_raised_as_it_is():
    conflicts = [CommitConflict(f"Table images/raw_images: number {number}") for number in range(3)]
    attempts = Attempts(*conflicts)
    with pytest.raises(CommitConflict) as caught:
        until_committed(attempts, attempts.look_again, tries=3)
    assert caught.value is conflicts[-1]
    assert attempts.done == ["attempt", "look again", "attempt", "look again", "attempt"]


def test_another_failure_ends_it_at_once():
    attempts = Attempts(LakeFull("no room"))
    with pytest.raises(LakeFull):
        until_committed(attempts, attempts.look_again)
    assert attempts.done == ["attempt"]
