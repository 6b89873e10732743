"""`darkroom shop history|as-of|recapture`: what an item was, what there was on a day, and the events begun anew."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import current_settings, messages, output, plainly
from cli.options import Yes

if TYPE_CHECKING:
    import polars as pl


class Source(StrEnum):
    """Where versions are read."""

    DATABASE = "database"
    LAKE = "lake"


From = Annotated[Source, typer.Option("--from", help="The shop's database, or shop/dim_item as it was last refreshed.")]


def register(shop: typer.Typer) -> None:
    """Add the commands to the group `shop`."""
    shop.command("history")(history)
    shop.command("as-of")(as_of)
    shop.command("recapture")(recapture)


@plainly
def history(
    item: Annotated[str, typer.Argument(help="An item_id.")],
    source: From = Source.DATABASE,
) -> None:
    """Every version that an item ever had: from when until when, and what it was."""
    import polars as pl

    found = _versions(source).filter(pl.col("item_id") == item).sort("effective_date")
    if not found.height:
        raise typer.BadParameter(f"{item!r} was never an item. `darkroom shop as-of today` lists those of now.")
    # What never changed is said once, above.
    words = [name for name in ("name", "manufacturer") if found[name].n_unique() > 1]
    same = [str(found[name][0]) for name in ("name", "manufacturer") if name not in words]
    console = output()
    console.print("  ".join([item, *same]), markup=False, soft_wrap=True)
    _print(found, ("effective_date", "end_date", "cost", "weight_kg", *words))
    if found["end_date"][-1] is not None:
        console.print("It was removed; its versions stay.")


@plainly
def as_of(
    at: Annotated[str, typer.Argument(metavar="DATE", help="2025-06-30, 2025-06-30T12:00:00Z, today or now.")],
    source: From = Source.DATABASE,
    limit: Annotated[int, typer.Option(min=1, help="Show so many items, by their id.")] = 20,
) -> None:
    """The items as they were at an instant; a day means its first instant, in UTC."""
    from transforms import scd2

    instant = parse_instant(at, datetime.now(UTC))
    held = scd2.as_of(_versions(source), instant).sort("item_id")
    _print(held.head(limit), ("item_id", "cost", "weight_kg", "name"))
    more = f", of which {limit} are shown (--limit)" if held.height > limit else ""
    output().print(f"{held.height:,} items at {instant:%Y-%m-%d %H:%M:%S} UTC{more}.")


@plainly
def recapture(
    yes: Yes = False,
) -> None:
    """Begin shop/item_events anew from the versions in the database; the dimension builds itself anew from it.

    For a database that was replaced, or restored to an earlier state. The earlier events stay in earlier versions of
    the table until upkeep removes their files, a day later.
    """
    from resources.lake import open_lake
    from resources.shop_capture import recapture as begin_anew

    settings = current_settings("shop")
    done = begin_anew(settings.postgres_dsn, open_lake(settings), apply=yes)
    verb = "were" if done.done else "would be"
    console = output()
    console.print(
        f"{done.events_before:,} events {verb} replaced by {done.events_after:,}, the versions of "
        f"{done.items:,} items.",
        soft_wrap=True,
    )
    if done.done:
        messages().print("The next run of the job refresh_shop builds the dimension anew.")
    else:
        console.print("To do it: the same with --yes")


def parse_instant(text: str, now: datetime) -> datetime:
    """An instant in UTC from a day, a time with a zone, `today` or `now`.

    Raises:
        typer.BadParameter: none of these; the message lists them.
    """
    if text == "now":
        return now
    if text == "today":
        return datetime(now.year, now.month, now.day, tzinfo=UTC)
    try:
        if len(text) == len("2025-06-30"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        found = datetime.fromisoformat(text)
        if found.utcoffset() is None:
            raise ValueError("it has no zone")
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no instant: {error}. Valid ones: a day (2025-06-30), a time with a zone "
            "(2025-06-30T12:00:00Z, 2025-06-30T14:00:00+02:00), today, now."
        ) from None
    return found.astimezone(UTC)


def _versions(source: Source) -> pl.DataFrame:
    """All versions of all items."""
    import polars as pl

    from resources.lake import open_lake
    from resources.shop_reading import item_versions, snapshot
    from transforms.shop_tables import DIM_ITEM

    if source is Source.LAKE:
        lake = open_lake(current_settings())
        return lake.collect(pl.scan_delta(lake.open(DIM_ITEM.name)), DIM_ITEM.name)
    with snapshot(current_settings().postgres_dsn, "Reading the versions of items") as connection:
        return item_versions(connection).with_columns(current_flag=pl.col("end_date").is_null())


HEADINGS = {"effective_date": "from", "end_date": "until", "weight_kg": "kg", "item_id": "item"}


def _print(rows: pl.DataFrame, columns: tuple[str, ...]) -> None:
    from rich.table import Table

    # Two versions within a second would look like one.
    precision = "seconds" if rows["effective_date"].dt.truncate("1s").is_unique().all() else "microseconds"
    shown = [[_shown(value, precision) for value in row] for row in rows.select(columns).iter_rows()]
    table = Table(box=None)
    for place, name in enumerate(columns):
        words = name in ("name", "manufacturer")
        table.add_column(
            HEADINGS.get(name, name),
            justify="right" if name in ("cost", "weight_kg") else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if words else max((len(row[place]) for row in shown), default=None),
        )
    for row in shown:
        table.add_row(*row)
    output().print(table)


def _shown(value: object, precision: str) -> str:
    from rich.markup import escape

    if isinstance(value, datetime):
        return value.isoformat(" ", precision).removesuffix("+00:00")
    return "" if value is None else escape(str(value))
