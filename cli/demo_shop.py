"""The demo's shop: loaded into PostgreSQL, captured, folded into versions, and its insights drawn in Dagster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.job_names import SHOP_JOB

if TYPE_CHECKING:
    from rich.console import Console

    from resources.lake import Lake
    from resources.settings import Settings
    from transforms.table_spec import TableSpec


@dataclass(frozen=True)
class ShopShown:
    """What the shop holds, and the first of each insight over all of time."""

    added: int
    sales: int
    items: int
    versions: int
    best_items: tuple[tuple[str, int], ...]
    best_member: str
    spent: str

    @property
    def sentence(self) -> str:
        """For a person."""
        bought = "; ".join(f"{name} ({pieces:,})" for name, pieces in self.best_items)
        return (
            f"The shop: {self.sales:,} sales, {self.items:,} items in {self.versions:,} versions, every sale with its "
            f"item as it was then. Most bought: {bought}. {self.best_member} spent most, {self.spent}."
        )


def show_shop(home: Path, settings: Settings, console: Console, deadline: float) -> ShopShown:
    """Load the made-up shop where it is not there yet, run Dagster's job, and read what it drew.

    Raises:
        PermanentFailure: the run failed; with its first error.
        TransientFailure: Dagster or PostgreSQL are away, or the deadline passed.
    """
    from cli.dagster_runs import insist_on_success, run_to_end, running_dagster
    from resources.lake import open_lake
    from resources.shop_load import load
    from stack.state import stack_settings
    from transforms.shop_demo import demo_shop

    with console.status("loading the shop"):
        loaded = load(stack_settings(home, "admin").postgres_dsn, demo_shop())
    with running_dagster(home) as dagster:
        run = run_to_end(dagster, SHOP_JOB, {}, deadline, console, "the shop")
        insist_on_success(dagster, run, "What was loaded stands; run it again when that is mended.")
    return _look(open_lake(settings), sum(loaded.added.values()))


def _look(lake: Lake, added: int) -> ShopShown:
    import polars as pl

    from transforms.shop import ALL
    from transforms.shop_tables import DIM_ITEM, SALES_WITH_ITEMS, TOP_ITEMS, TOP_MEMBERS

    def asked(spec: TableSpec, *columns: pl.Expr) -> pl.DataFrame:
        return lake.collect(pl.scan_delta(lake.open(spec.name)).select(*columns), spec.name)

    versions = asked(DIM_ITEM, pl.col("item_id"))
    sales = asked(SALES_WITH_ITEMS, pl.col("sale_id").n_unique())
    items, members = (
        asked(spec, pl.all()).filter(pl.col("window") == ALL).sort("rank") for spec in (TOP_ITEMS, TOP_MEMBERS)
    )
    best = members.row(0, named=True)
    return ShopShown(
        added=added,
        sales=sales.item(),
        items=versions["item_id"].n_unique(),
        versions=versions.height,
        best_items=tuple(items.select("name", "pieces").rows()),
        best_member=best["membership_id"],
        spent=f"{best['spent']:,}",
    )
