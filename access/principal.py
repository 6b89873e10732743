"""Who asks: the one identity that every door and service speaks of.

A `Principal` is made from a verified token and never from a header. Limits: it says who and which groups, not what they
may do; that is the policy's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PERSON_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
"""A person's name that means the same in the directory, in PostgreSQL and in Kafka. A company's directory may have
others, who sign in as well; a login of the database they cannot have."""
PERSON_NAME_SAID = "1 to 63 characters of a-z, 0-9, '.', '_' and '-', a letter first"

RESERVED_SUBJECTS = frozenset(
    {
        "admin",
        "broker",
        "dagster",
        "developing",
        "directory",
        "gateway",
        "learning",
        "mlflow",
        "operator",
        "postgres",
        "recogniser",
        "shop",
        "signin",
        "streams",
        "upkeep",
        "uploads",
    }
)
"""Names of services. All sources of identity share one namespace (Kafka took a token with `sub: admin` for its super
user in a trial), so no issuer may give them to a person."""

KAFKA_CLAIM = "kafka_principal"
"""The claim of a token that Kafka takes for its holder's name."""
LONGEST_NAME = 256
MOST_GROUPS = 200


@dataclass(frozen=True)
class Principal:
    """A person or program as its token names it: subject and groups."""

    subject: str
    groups: tuple[str, ...]


def kafka_principal(subject: str) -> str:
    """A person's name at Kafka; no certificate of a service has one that begins so."""
    return f"person:{subject}"


def check_names(subject: object, groups: object) -> Principal:
    """The principal of these claims.

    Raises:
        ValueError: a claim of the wrong type, empty, too long, with characters nobody sees, or reserved.
    """
    if not isinstance(subject, str) or not _is_name(subject):
        raise ValueError(
            f"sub is no name: 1 to {LONGEST_NAME} printable characters are due, none of them a space at an end."
        )
    if subject.casefold() in RESERVED_SUBJECTS:
        raise ValueError(
            f"sub {subject!a} is reserved for a service; reserved are {', '.join(sorted(RESERVED_SUBJECTS))}."
        )
    if not isinstance(groups, list | tuple) or len(groups) > MOST_GROUPS:
        raise ValueError(f"groups is no list of at most {MOST_GROUPS} names.")
    names = tuple(group for group in groups if isinstance(group, str) and _is_name(group))
    if len(names) != len(groups):
        raise ValueError(f"groups holds what is no name: 1 to {LONGEST_NAME} printable characters each are due.")
    return Principal(subject, names)


def _is_name(text: str) -> bool:
    # isprintable also refuses half surrogate pairs and characters that turn the direction of writing.
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()
