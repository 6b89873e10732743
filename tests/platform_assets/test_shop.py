"""The shop's job on a real PostgreSQL: captured, folded, drawn; its checks can fail; its sensor asks when it should."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from access.policy import load_policy
from platform_assets.definitions import defs
from platform_assets.shop.items import open_versions
from platform_assets.shop.sources import DESCRIPTIONS, shop_tables
from resources.dagster_resources import resource_defs
from resources.job_names import SHOP_JOB
from resources.lake import Lake
from resources.lake_log import files_of
from resources.postgres import upgrade
from resources.postgres_roles import PostgresRoles
from resources.shop_load import load
from sensors.shop_changes import shop_changes
from tests.live_stack import LiveStack
from tests.resources.shop.conftest import database
from transforms.shop_demo import demo_shop
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS, SALES_WITH_ITEMS, SHOP_TABLES, TOP_ITEMS, TOP_MEMBERS
from transforms.table_spec import TableSpec

pytestmark = pytest.mark.stack


@dataclass
class Shop:
    """A shop of its own, a lake, and Dagster; `run` runs the job as Dagster runs it."""

    admin: str
    lake: Lake
    instance: dg.DagsterInstance
    resources: dict[str, Any]

    def run(self, *, rebuild: bool = False, fails: bool = False) -> dg.ExecuteInProcessResult:
        config = {"ops": {"dim_item": {"config": {"rebuild": rebuild}}}}
        return defs.resolve_job_def(SHOP_JOB).execute_in_process(
            instance=self.instance, resources=self.resources, run_config=config, raise_on_error=not fails
        )

    def change(self, statement: str) -> None:
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(statement)

    def rows(self, spec: TableSpec) -> pl.DataFrame:
        return pl.scan_delta(self.lake.open(spec.name)).collect()

    def version(self, spec: TableSpec) -> int:
        return self.lake.open(spec.name).version()

    def tick(self, cursor: str | None = None) -> dg.SensorResult:
        wanted = {name: self.resources[name] for name in ("shop", "lake")}
        with dg.build_sensor_context(instance=self.instance, cursor=cursor, resources=wanted) as context:
            found = shop_changes(context)
        assert isinstance(found, dg.SensorResult)
        return found


def metadata(result: dg.ExecuteInProcessResult, spec: TableSpec) -> dict[str, Any]:
    name = spec.name.split("/")[-1]
    (event,) = [one for one in result.get_asset_materialization_events() if one.asset_key.path[-1] == name]
    return {key: value.value for key, value in event.materialization.metadata.items()}


def red(result: dg.ExecuteInProcessResult) -> set[str]:
    return {one.check_name for one in result.get_asset_check_evaluations() if not one.passed}


@pytest.fixture(scope="module")
def template(stack: LiveStack) -> Iterator[str]:
    """A shop with some sales, to copy."""
    with database(stack.settings("admin").postgres_dsn) as dsn:
        upgrade(dsn)
        PostgresRoles(dsn, load_policy()).apply()
        load(dsn, demo_shop(members=30, items=60, sales=400))
        yield str(conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def shop(stack: LiveStack, template: str, tmp_path: Path) -> Iterator[Shop]:
    with database(stack.settings("admin").postgres_dsn, template) as admin, dg.instance_for_test() as instance:
        reader = make_conninfo(stack.settings("shop").postgres_dsn, dbname=conninfo_to_dict(admin)["dbname"])
        root = str(tmp_path / "lake")
        resources = resource_defs({"shop_dsn": reader, "lake": root})
        yield Shop(admin, Lake(root), instance, resources)


def test_one_run_takes_the_shop_to_its_insights_and_every_check_is_green(shop: Shop):
    result = shop.run()
    assert {event.asset_key for event in result.get_asset_materialization_events()} == {
        dg.AssetKey(spec.name.split("/")) for spec in SHOP_TABLES
    }
    assert red(result) == set()
    assert len(result.get_asset_check_evaluations()) == 15
    sales = shop.rows(SALES_WITH_ITEMS)
    assert sales["sale_id"].n_unique() == 400
    assert sales["item_version"].null_count() == 0
    assert shop.rows(TOP_MEMBERS).filter(pl.col("window") == "all").height == 10
    assert shop.rows(TOP_ITEMS).filter(pl.col("window") == "all").height == 3
    dim = metadata(result, DIM_ITEM)
    assert dim["items ever"] == 60
    assert "data:image/svg+xml" in dim["versions an item"]
    for spec, picture in ((TOP_MEMBERS, "spent, last 90 days"), (TOP_ITEMS, "pieces, all")):
        assert "data:image/svg+xml" in metadata(result, spec)[picture]


def test_an_empty_shop_is_no_failure_and_asks_for_nothing(shop: Shop, stack: LiveStack):
    with database(stack.settings("admin").postgres_dsn) as empty:
        upgrade(empty)
        PostgresRoles(empty, load_policy()).apply()
        shop.resources = resource_defs({"shop_dsn": empty, "lake": shop.lake.root})
        assert not shop.tick().run_requests
        assert red(shop.run()) == set()
        assert shop.rows(TOP_MEMBERS).height == 0


def test_what_did_not_change_is_not_written_again(shop: Shop):
    shop.run()
    before = {spec.name: shop.version(spec) for spec in SHOP_TABLES}
    result = shop.run()
    assert {spec.name: shop.version(spec) for spec in SHOP_TABLES} == before
    assert metadata(result, SALES_WITH_ITEMS)["written"] is False


def test_removing_an_item_changes_no_insight_about_the_past(shop: Shop):
    shop.run()
    best = shop.rows(TOP_ITEMS)["item_id"][0]
    insights = (SALES_WITH_ITEMS, TOP_MEMBERS, TOP_ITEMS)
    before = [shop.rows(spec) for spec in insights]
    shop.change(f"DELETE FROM shop.items WHERE item_id = '{best}'")
    shop.change("UPDATE shop.items SET name = 'renamed', cost = cost + 1")
    result = shop.run()
    assert red(result) == set()
    assert metadata(result, DIM_ITEM)["versions taken away"] > 1
    assert all(old.equals(new) for old, new in zip(before, map(shop.rows, insights), strict=True))


def test_a_rebuild_by_hand_gives_the_same_versions(shop: Shop):
    shop.run()
    shop.change("UPDATE shop.items SET cost = cost + 1")
    shop.run()
    before = shop.rows(DIM_ITEM).sort("item_id", "effective_date")
    result = shop.run(rebuild=True)
    assert metadata(result, DIM_ITEM)["built anew"] is True
    assert shop.rows(DIM_ITEM).sort("item_id", "effective_date").equals(before)


def overwrite(shop: Shop, frame: pl.DataFrame) -> None:
    """Put rows into the dimension as no run would."""
    handle = shop.lake.open(DIM_ITEM.name)
    paths = [file["path"] for file in files_of(handle)]
    shop.lake.replace_files(handle, DIM_ITEM, [frame.to_arrow().cast(DIM_ITEM.schema)], paths)


@pytest.mark.parametrize(
    ("spoil", "checks"),
    [
        (lambda rows: rows.with_columns(name=pl.lit("other")), {"as_postgresql_has_it"}),
        (
            lambda rows: rows.filter(pl.col("item_id") != "item-0001"),
            {"as_postgresql_has_it", "every_sale_has_its_item"},
        ),
        (
            lambda rows: pl.concat(
                [rows, rows.filter("current_flag").head(1).with_columns(pl.col("effective_date").dt.offset_by("1d"))]
            ),
            {"as_postgresql_has_it", "one_current_version", "no_two_versions_at_once"},
        ),
        (
            lambda rows: rows.with_columns(end_date=pl.col("end_date").dt.offset_by("-1s")),
            {"as_postgresql_has_it", "no_gap_without_a_delete"},
        ),
    ],
    ids=["another name", "an item less", "two current versions", "a gap"],
)
def test_a_spoilt_dimension_is_red(shop: Shop, spoil: Any, checks: set[str]):
    shop.run()
    overwrite(shop, spoil(shop.rows(DIM_ITEM)))
    assert red(shop.run()) == checks


def test_items_that_change_between_capture_and_comparison_are_left_out_and_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    from resources.version_table import VersionTable

    real = VersionTable.refresh

    def refreshed(table: VersionTable):
        done = real(table)
        shop.change("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT min(item_id) FROM shop.items)")
        return done

    monkeypatch.setattr(VersionTable, "refresh", refreshed)
    result = shop.run()
    assert red(result) == set()
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "as_postgresql_has_it"]
    assert found.metadata["items that changed meanwhile, left out"].value == 1


def test_a_hole_in_the_events_is_red(shop: Shop):
    shop.run()
    handle = shop.lake.open(ITEM_EVENTS.name)
    handle.delete("arrival = 3")
    assert "numbered_without_gaps" in red(shop.run())


def test_a_change_that_an_open_transaction_holds_back_for_long_is_a_warning(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    from datetime import timedelta

    monkeypatch.setattr("platform_assets.shop.item_checks.LATE", timedelta())
    with psycopg.connect(shop.admin) as slow:
        slow.execute("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT min(item_id) FROM shop.items)")
        shop.change("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT max(item_id) FROM shop.items)")
        result = shop.run()
    assert red(result) == {"captured_in_time"}
    assert metadata(result, ITEM_EVENTS)["changes held back"] == 2
    assert open_versions(shop.lake).behind == 0


def test_another_database_fails_the_run_once_with_what_to_do(shop: Shop, stack: LiveStack, template: str):
    shop.run()
    with database(stack.settings("admin").postgres_dsn) as other:
        upgrade(other)
        PostgresRoles(other, load_policy()).apply()
        shop.resources = resource_defs({"shop_dsn": other, "lake": shop.lake.root})
        tick = shop.tick()
        (request,) = tick.run_requests
        assert request.run_key == shop.tick(tick.cursor).run_requests[0].run_key
        result = shop.run(fails=True)
        assert not result.success
        (failure,) = [event for event in result.all_node_events if event.is_step_failure]
        assert "darkroom shop recapture" in failure.event_specific_data.error_display_string


def test_the_sensor_asks_when_items_or_sales_changed_and_not_otherwise(shop: Shop):
    tick = shop.tick()
    assert len(tick.run_requests) == 1
    assert {event.asset_key.path[-1] for event in tick.asset_events} == {"items", "members", "sales", "sales_details"}
    shop.run()
    still = shop.tick(tick.cursor)
    assert not still.run_requests
    assert "nothing new" in str(still.skip_reason)
    assert not still.asset_events
    shop.change("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT min(item_id) FROM shop.items)")
    moved = shop.tick(still.cursor)
    assert moved.run_requests[0].tags["darkroom/why"] == "2 changes of items"
    assert [event.asset_key.path[-1] for event in moved.asset_events] == ["items"]
    shop.run()
    shop.change(
        "UPDATE shop.sales SET status = 'cancelled' WHERE sale_id = (SELECT min(sale_id) FROM shop.sales"
        " WHERE status IN ('open', 'packed'))"
    )
    sold = shop.tick(moved.cursor)
    assert sold.run_requests[0].tags["darkroom/why"] == "changes of sales"
    assert json.loads(str(sold.cursor))["asked"]["sales"] != json.loads(str(moved.cursor))["asked"]["sales"]


def test_the_sensor_says_what_holds_changes_back_and_that_the_database_is_away(shop: Shop):
    shop.run()
    cursor = shop.tick().cursor
    with psycopg.connect(shop.admin) as slow:
        slow.execute("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT min(item_id) FROM shop.items)")
        shop.change("UPDATE shop.items SET cost = cost + 1 WHERE item_id = (SELECT max(item_id) FROM shop.items)")
        held = shop.tick(cursor)
        assert not held.run_requests
        assert "2 changes are held back by a transaction that is open" in str(held.skip_reason)
    shop.resources = resource_defs({"shop_dsn": make_conninfo(shop.admin, port=1), "lake": shop.lake.root})
    away = shop.tick(held.cursor)
    assert not away.run_requests
    assert "Is PostgreSQL running?" in str(away.skip_reason)
    assert away.cursor == held.cursor


def test_the_sources_are_observed(shop: Shop):
    context = dg.build_asset_context(instance=shop.instance)
    results = shop_tables(context=context, shop=shop.resources["shop"])
    found = {one.asset_key.path[-1]: one.metadata["dagster/row_count"] for one in results}
    assert (found["members"], found["sales"], set(found)) == (30, 400, set(DESCRIPTIONS))
