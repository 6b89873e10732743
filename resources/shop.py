"""The shop's database for its clients: transactions that begin again after a race, and its errors as ours.

Two changes made at once from the same values cannot both stand: the database refuses the second (SQLSTATE 40001), or
ends one of two that wait for each other (40P01). Nothing of it is kept, and what it would have done may be wrong by
now, so that the whole work is done again from what it reads: `in_transaction`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from resources.failures import PermanentFailure, TransientFailure

Result = TypeVar("Result")

_AGAIN = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.5

RULES = {
    "item_id_form": "an item_id is 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    "item_name_length": "a name has 1 to 200 characters",
    "item_manufacturer_length": "a manufacturer has 1 to 200 characters",
    "item_cost_range": "a cost is from 0 to 9999999999.99",
    "item_cost_decimals": "a cost has at most 2 decimals",
    "item_weight_range": "a weight is from 0 to 9999999.999 kg",
    "item_weight_decimals": "a weight has at most 3 decimals",
    "item_has_one_current_version": "change the item that exists, or take another item_id",
    "item_keeps_its_id": "remove the item and add another",
    "item_version_begins": "effective_date is a time, and not infinity",
    "item_version_ends_after_it_begins": "end_date is after effective_date, or empty",
    "item_versions_never_overlap": "a version begins at or after the end of the one before it",
    "item_history_is_never_rewritten": "versions are only ever added, through shop.items",
    "item_history_is_only_added_to": "a loaded version begins at or after the end of all that the item has",
    "item_version_is_not_of_the_future": "effective_date and end_date are not after now",
    "membership_id_form": "a membership_id is 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    "member_status": "a member's status is active, paused or left",
    "member_since": "since is a day, and not infinity",
    "contact_name_length": "a name has 1 to 200 characters",
    "contact_email_form": "an email is an address with one @, of at most 254 characters",
    "contact_of_a_member": "a contact belongs to a member that exists",
    "sale_to_a_member": "a sale is made to a member that exists",
    "sale_id_form": "a sale_id is 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    "sale_time": "sold_at is a time, and not infinity",
    "sale_status": "a sale's status is open, packed, shipped, completed or cancelled",
    "sale_status_order": "open to packed to shipped to completed, and open or packed to cancelled",
    "sale_keeps_what_it_was": "of a sale only the status changes",
    "sale_totals_are_computed": "totals follow from the details: change those",
    "sale_is_not_of_the_future": "sold_at is not after now",
    "detail_quantity": "a quantity is from 1 to 1000000",
    "detail_price_range": "a price is from 0 to 9999999999.99",
    "detail_price_decimals": "a price has at most 2 decimals",
    "detail_of_a_sale": "a detail belongs to a sale that exists",
    "detail_has_the_time_of_its_sale": "a detail has the sold_at of its sale, or none given",
    "sold_item_existed_at_its_time": "an item that had a version at the sale's time",
    "rows_are_removed_one_by_one": "DELETE, which is recorded, and not TRUNCATE",
    "record_is_only_added_to": "the record of changes is only ever added to",
}
"""What is valid, by the name of the database's rule that was broken."""


class ShopUnavailable(TransientFailure):
    """The shop's database did not answer, or a transaction met others until its time was over."""


class ShopRefused(PermanentFailure):
    """The shop's database refused; `facts` has the rule's name, and nothing was changed."""


@contextmanager
def shop_errors(tried: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into ours: what was tried, what came back, what is valid.

    Raises:
        ShopRefused: a rule or a right stands against it.
        ShopUnavailable: no answer, or a race.
    """
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise ShopRefused(
            f"{tried} was refused: {error.diag.message_primary}. `darkroom shop rights` shows who may what.",
            {"sqlstate": error.sqlstate or ""},
        ) from error
    except _AGAIN as error:
        raise ShopUnavailable(
            f"{tried} met other changes until its time was over: {_first_line(error)}. Nothing was changed; try again.",
            {"sqlstate": error.sqlstate or ""},
        ) from error
    except psycopg.OperationalError as error:
        raise ShopUnavailable(
            f"{tried} did not come to an end: {_first_line(error)}. Is PostgreSQL running? If the connection broke "
            "while committing, it may be done: look before doing it again.",
            {"sqlstate": error.sqlstate or ""},
        ) from error
    except psycopg.Error as error:
        rule = error.diag.constraint_name or ""
        if isinstance(error, psycopg.errors.NotNullViolation):
            valid = f"a value for {error.diag.column_name}"
        else:
            valid = RULES.get(rule, "")
        raise ShopRefused(
            f"{tried} was refused: {error.diag.message_primary or _first_line(error)}."
            + (f" Valid: {valid}." if valid else ""),
            {"rule": rule, "sqlstate": error.sqlstate or ""},
        ) from error


def in_transaction(
    dsn: str,
    work: Callable[[psycopg.Connection], Result],
    *,
    tried: str = "A change in the shop",
    seconds: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Do `work` in one transaction, again from its beginning after every race, until it is committed.

    Args:
        dsn: libpq connection string.
        work: reads and writes on the connection it is given; it must leave committing to this function, and do nothing
            outside of the database that may not be done twice.
        tried: what it is, for the message of an error.
        seconds: how long to begin again.

    Raises:
        ShopRefused: a rule or a right stands against it; nothing was changed.
        ShopUnavailable: no answer, or it met others until the time was over. When the connection broke while
            committing, whether it is done is unknown.
    """
    until = clock() + seconds
    pause = _FIRST_PAUSE
    with shop_errors(tried), psycopg.connect(dsn) as connection:
        while True:
            try:
                with connection.transaction():
                    return work(connection)
            except _AGAIN:
                if clock() > until:
                    raise
                # Spread, so that those who met do not meet again.
                sleep(random.uniform(0, pause))
                pause = min(2 * pause, _LONGEST_PAUSE)


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().split("\n", 1)[0].rstrip(".")
