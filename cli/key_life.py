"""What the commands of `darkroom keys` share: the life of the keys in somebody's name, and how it is told."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cli.context import current_settings
from cli.options import IN_AUDIT, reason

if TYPE_CHECKING:
    from resources.key_life import DayOfKeys, KeyLife

Why = Annotated[str, reason(IN_AUDIT, with_yes=False)]


def life_of(who: str | None, why: str, former: tuple[str, ...] = ()) -> KeyLife:
    """The life of the stack's keys, for one deed of somebody."""
    from resources.key_life import KeyLife

    return KeyLife(current_settings("operator"), who or getpass.getuser(), why.strip(), older=former)


def moment_of(moment: datetime) -> str:
    """An instant, for a person."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def rows_of(one: DayOfKeys) -> str:
    """The rows that hang on a day's key, for a person."""
    counts = [f"{rows:,} in {table}" for table, rows in sorted(one.rows.items()) if rows]
    return ", ".join(counts) or "no rows"
