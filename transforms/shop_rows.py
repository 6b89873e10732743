"""The shop's tables as CSV files: their columns, and reading a row with an error that names line and column.

Pure: lines in, rows and faults out. What one row alone can say is judged here; what needs other rows (an unknown
member, an item sold before it existed) is judged by the database (resources/shop_load.py). The database's own rules
stand behind both.
Money and weights are Decimal; times have a zone and are UTC; ids are strings.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from transforms.names import shown

STATUSES = ("open", "packed", "shipped", "completed", "cancelled")
MEMBER_STATUSES = ("active", "paused", "left")
LARGEST_FIELD = 10_000
"""Characters; a longer field is most often a quote that was never closed."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


@dataclass(frozen=True)
class Fault:
    """What is wrong in one place of a file. `line` counts from 1, the header included."""

    file: str
    line: int
    column: str
    found: str
    valid: str

    @property
    def sentence(self) -> str:
        """The fault for a person."""
        return f"{self.file} line {self.line}, column {self.column}: found {self.found}; valid: {self.valid}."


@dataclass(frozen=True)
class Column:
    """A column: `read` gives the value or raises ValueError; an empty field of an optional one is None."""

    name: str
    kind: str
    valid: str
    read: Callable[[str], Any]
    optional: bool = False


@dataclass(frozen=True)
class ShopFile:
    """A file of one table: its name, its columns, and those that name a row."""

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name in its folder."""
        return f"{self.table}.csv"

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True)
class Row:
    """One row: the line it stands on, and its values in the order of the file's columns."""

    line: int
    values: tuple[Any, ...]


def read_rows(file: ShopFile, lines: Iterable[str]) -> Iterator[Row | Fault]:
    """The rows of a CSV file, a fault in the place of each that is none, and one for each wrong field.

    Args:
        file: which columns to expect; their order in the file is free.
        lines: the text, with its line ends; the first line is the header.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
        header = [name.removeprefix("\ufeff").strip() for name in header]
        missing = [one.name for one in file.columns if one.name not in header and not one.optional]
        unknown = [name for name in header if name not in file.names]
        if missing or unknown or len(set(header)) != len(header):
            yield Fault(
                file.name, 1, "(header)", shown(",".join(header)), f"the columns {', '.join(file.names)}, once each"
            )
            return
        places = [(column, header.index(column.name) if column.name in header else None) for column in file.columns]
        line = reader.line_num + 1
        for fields in reader:
            if fields:
                yield from _row(file, places, len(header), fields, line)
            line = reader.line_num + 1
    except csv.Error as error:
        yield Fault(file.name, reader.line_num, "(line)", str(error), "CSV with quotes that are closed (RFC 4180)")


def _row(
    file: ShopFile, places: Sequence[tuple[Column, int | None]], width: int, fields: list[str], line: int
) -> Iterator[Row | Fault]:
    if len(fields) != width:
        yield Fault(file.name, line, "(line)", f"{len(fields)} fields", f"{width} fields, as in the header")
        return
    values, good = [], True
    for column, place in places:
        text = "" if place is None else fields[place]
        try:
            if len(text) > LARGEST_FIELD or "\0" in text:
                raise ValueError
            values.append(None if column.optional and not text else column.read(text))
        except ValueError:
            good = False
            yield Fault(file.name, line, column.name, shown(text), column.valid)
    if good:
        yield Row(line, tuple(values))


def _id(name: str) -> Column:
    return Column(name, "text", "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first", _matching(_ID))


def _text(name: str) -> Column:
    def read(text: str) -> str:
        if not 1 <= len(text) <= 200:
            raise ValueError
        return text

    return Column(name, "text", "1 to 200 characters", read)


def _amount(name: str, places: int, largest: str, *, optional: bool = False) -> Column:
    most = Decimal(largest)

    def read(text: str) -> Decimal:
        if not _DECIMAL.fullmatch(text):
            raise ValueError
        try:
            value = Decimal(text)
        except InvalidOperation:
            raise ValueError from None
        if not 0 <= value <= most or value != round(value, places):
            raise ValueError
        return value

    return Column(name, "numeric", f"a number from 0 to {largest} with at most {places} decimals", read, optional)


def _count(name: str, largest: int) -> Column:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not 1 <= int(text) <= largest:
            raise ValueError
        return int(text)

    return Column(name, "integer", f"a whole number from 1 to {largest}", read)


def _instant(name: str, *, optional: bool = False) -> Column:
    def read(text: str) -> datetime:
        at = datetime.fromisoformat(text)
        if at.utcoffset() is None:
            raise ValueError
        try:
            return at.astimezone(UTC)
        except OverflowError:
            raise ValueError from None

    return Column(name, "timestamptz", "a time with its zone, such as 2025-01-31T12:00:00Z", read, optional)


def _day(name: str) -> Column:
    return Column(name, "date", "a day, such as 2025-01-31", date.fromisoformat)


def _choice(name: str, valid: Sequence[str]) -> Column:
    def read(text: str) -> str:
        if text not in valid:
            raise ValueError
        return text

    return Column(name, "text", f"one of {', '.join(valid)}", read)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text) or len(text) > 254:
            raise ValueError
        return text

    return read


ITEMS = ShopFile(
    "items",
    (
        _id("item_id"),
        _text("name"),
        _text("manufacturer"),
        _amount("cost", 2, "9999999999.99"),
        _amount("weight_kg", 3, "9999999.999"),
        _instant("effective_date"),
        _instant("end_date", optional=True),
    ),
    ("item_id", "effective_date"),
)
"""One row a version; an empty end_date is the current one."""

MEMBERS = ShopFile(
    "members", (_id("membership_id"), _choice("status", MEMBER_STATUSES), _day("since")), ("membership_id",)
)
MEMBER_CONTACTS = ShopFile(
    "member_contacts",
    (_id("membership_id"), _text("name"), Column("email", "text", "an address with one @", _matching(_EMAIL))),
    ("membership_id",),
)
SALES = ShopFile(
    "sales",
    (
        _id("sale_id"),
        _id("membership_id"),
        _instant("sold_at"),
        _choice("status", STATUSES),
        _amount("total_price", 2, "99999999999999.99", optional=True),
        _amount("total_weight_kg", 3, "99999999999999.999", optional=True),
    ),
    ("sale_id",),
)
"""Totals are computed; given ones are compared."""

SALES_DETAILS = ShopFile(
    "sales_details",
    (
        _id("sale_id"),
        _id("item_id"),
        _count("quantity", 1_000_000),
        _amount("price", 2, "9999999999.99", optional=True),
        _instant("sold_at", optional=True),
    ),
    ("sale_id", "item_id"),
)
"""An empty price is the item's cost at the time; an empty sold_at is the sale's."""

FILES = (ITEMS, MEMBERS, MEMBER_CONTACTS, SALES, SALES_DETAILS)
