"""One rule for people's names: who is made in the stack's directory can have a login of the database."""

from __future__ import annotations

import pytest

from access.policy import load_policy
from resources.directory import DirectoryAway, Person
from resources.directory_people import People, PersonRefused
from resources.shop_logins import wanted_logins
from tests.directories import house


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> People:
    """A directory that is away: what asks it has been let through."""
    layout, port = house(tmp_path_factory.mktemp("away") / "home")
    return People("127.0.0.1", port, "dc=x", "cn=admin", "x", layout.ca)


@pytest.mark.parametrize("name", ["ada", "ada.lovelace", "a", "a-b_c.9", "z" * 63])
def test_a_name_that_the_directory_takes_becomes_a_login(away: People, name: str) -> None:
    """A name with a dot could be made, and its owner never had a login."""
    with pytest.raises(DirectoryAway):
        away.put(name, [], "long enough")
    assert wanted_logins(load_policy(), [Person(name, f"uid={name}", ("sales",))]) == ({name: ("sales",)}, ())


@pytest.mark.parametrize("name", ["", "Ada", "a b", "9a", ".a", "ä", "a:b", "a\n", "z" * 64])
def test_a_name_that_can_be_no_login_is_refused_by_both_with_the_same_words(away: People, name: str) -> None:
    with pytest.raises(PersonRefused, match="is no name: 1 to 63 characters"):
        away.put(name, [], "long enough")
    logins, (said,) = wanted_logins(load_policy(), [Person(name, f"uid={name}", ("sales",))])
    assert logins == {} and "Valid: 1 to 63 characters" in said
