"""Loading: all or nothing, again without effect, and every rule kept that the database has."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from resources.shop import ShopRefused
from resources.shop_folder import FolderRefused, read_folder
from resources.shop_load import Loaded, LoadRefused, load
from tests.live_stack import LiveStack
from tests.resources.shop.shelves import add_item, versions
from transforms.shop_demo import demo_shop
from transforms.shop_rows import Fault

pytestmark = pytest.mark.stack

GOOD = {
    "items": [
        "item_id,name,manufacturer,cost,weight_kg,effective_date,end_date",
        "film,Film,Corvin,5.00,0.030,2025-01-01T00:00:00Z,2025-02-01T00:00:00Z",
        "film,Film,Corvin,6.00,0.030,2025-02-01T00:00:00Z,2025-03-01T00:00:00Z",
        "film,Film,Corvin,7.00,0.040,2025-04-01T00:00:00Z,",
        "tank,Tank,Fennick,30.00,0.400,2025-01-01T00:00:00Z,",
    ],
    "members": ["membership_id,status,since", "ada,active,2024-01-01"],
    "sales": [
        "sale_id,membership_id,sold_at,status",
        "one,ada,2025-01-15T12:00:00Z,completed",
        "two,ada,2025-02-15T12:00:00Z,open",
    ],
    "sales_details": ["sale_id,item_id,quantity,price", "one,film,2,", "one,tank,1,29.00", "two,film,1,6.00"],
}
TABLES = ("item_versions", "members", "member_contacts", "sales", "sales_details", "changes")


def folder(path: Path, **changed: list[str]) -> Path:
    for table, lines in (GOOD | changed).items():
        (path / f"{table}.csv").write_text("\n".join(lines) + "\n")
    return path


def counts(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        found = {table: connection.execute(f"SELECT count(*) FROM shop.{table}").fetchone() for table in TABLES}
    return {table: one[0] for table, one in found.items() if one is not None}


def test_four_files_become_history_and_sales_with_totals_of_their_time(shop: str, tmp_path: Path):
    taken: dict[str, int] = {}
    done = load(shop, read_folder(folder(tmp_path)), lambda table, rows: taken.update({table: rows}))
    assert done.added == {"items": 4, "members": 1, "member_contacts": 0, "sales": 2, "sales_details": 3}
    assert taken == {"items": 4, "members": 1, "sales": 2, "sales_details": 3}
    with psycopg.connect(shop) as connection:
        totals = connection.execute(
            "SELECT sale_id, total_price, total_weight_kg FROM shop.sales ORDER BY 1"
        ).fetchall()
        assert [tuple(map(str, one)) for one in totals] == [("one", "39.00", "0.460"), ("two", "6.00", "0.030")]
        assert len(versions(connection)) == 3


def test_a_second_load_changes_nothing_not_even_the_record(shop: str, tmp_path: Path):
    load(shop, read_folder(folder(tmp_path)))
    before = counts(shop)
    with psycopg.connect(shop) as connection:
        connection.execute("UPDATE shop.sales SET status = 'packed' WHERE sale_id = 'two'")
    done = load(shop, read_folder(tmp_path))
    assert set(done.added.values()) == {0}
    assert counts(shop) == before | {"changes": before["changes"] + 1}


def item(line: int, **changed: str) -> list[str]:
    """The items' file with one line changed by the name of a column."""
    names = GOOD["items"][0].split(",")
    lines = list(GOOD["items"])
    fields = dict(zip(names, lines[line - 1].split(","), strict=True)) | changed
    lines[line - 1] = ",".join(fields.values())
    return lines


FAULTS = {
    "a wrong type": ({"items": item(2, cost="cheap")}, "items.csv", 2, "cost", "a number from 0"),
    "a negative cost": ({"items": item(2, cost="-1")}, "items.csv", 2, "cost", "from 0 to 9999999999.99"),
    "an overlap": (
        {"items": item(2, end_date="2025-02-02T00:00:00Z")},
        "items.csv",
        3,
        "effective_date",
        "at or after 2025-02-02 00:00:00+00, where the version of line 2 ends",
    ),
    "two current rows": (
        {"items": [*GOOD["items"], "tank,Tank,Fennick,31,0.4,2025-02-01T00:00:00Z,"]},
        "items.csv",
        6,
        "effective_date",
        "one current row an item (line 5 has no end_date either)",
    ),
    "a row behind the current one": (
        {"items": [*GOOD["items"], "tank,T,F,31,0.4,2025-02-01T00:00:00Z,2025-03-01T00:00:00Z"]},
        "items.csv",
        6,
        "effective_date",
        "no version behind the current one of line 5",
    ),
    "a row twice": ({"items": [*GOOD["items"], GOOD["items"][1]]}, "items.csv", 6, "item_id", "line 2 has it too"),
    "an end before the beginning": (
        {"items": item(4, end_date="2025-03-31T00:00:00Z")},
        "items.csv",
        4,
        "end_date",
        "after effective_date",
    ),
    "a version of the future": (
        {"items": item(4, effective_date="2999-01-01T00:00:00Z")},
        "items.csv",
        4,
        "effective_date",
        "up to now",
    ),
    "an unknown member": (
        {"sales": [*GOOD["sales"], "three,bob,2025-01-15T12:00:00Z,open"]},
        "sales.csv",
        4,
        "membership_id",
        "a member of members.csv or of the database",
    ),
    "a sale of the future": (
        {"sales": [*GOOD["sales"], "three,ada,2999-01-15T12:00:00Z,open"]},
        "sales.csv",
        4,
        "sold_at",
        "a time up to now",
    ),
    "a wrong total": (
        {"sales": [GOOD["sales"][0] + ",total_price", GOOD["sales"][1] + ",38.99", GOOD["sales"][2] + ","]},
        "sales.csv",
        2,
        "total_price",
        "39.00, which its details come to",
    ),
    "an unknown sale": (
        {"sales_details": [*GOOD["sales_details"], "none,film,1,1"]},
        "sales_details.csv",
        5,
        "sale_id",
        "a sale of sales.csv",
    ),
    "an item sold before it existed": (
        {"items": item(2, effective_date="2025-01-16T00:00:00Z")},
        "sales_details.csv",
        2,
        "item_id",
        "an item that existed then; this one did from 2025-01-16 00:00:00+00 to 2025-02-01",
    ),
    "an item sold while it was away": (
        {"sales": [*GOOD["sales"][:2], "two,ada,2025-03-01T00:00:00Z,open"]},
        "sales_details.csv",
        4,
        "item_id",
        "an item that existed then",
    ),
    "an unknown item": (
        {"sales_details": [*GOOD["sales_details"], "one,lens,1,1"]},
        "sales_details.csv",
        5,
        "item_id",
        "an item of items.csv or of the database",
    ),
    "a detail with another time": (
        {"sales_details": ["sale_id,item_id,quantity,sold_at", "one,film,2,2025-01-15T12:00:01Z"]},
        "sales_details.csv",
        2,
        "sold_at",
        "2025-01-15 12:00:00+00, the time of its sale, or empty",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_that_cannot_be_is_named_and_nothing_of_the_load_is_kept(shop: str, tmp_path: Path, fault: str):
    changed, file, line, column, valid = FAULTS[fault]
    with pytest.raises(LoadRefused) as refused:
        load(shop, read_folder(folder(tmp_path, **changed)))
    (found,) = refused.value.faults
    assert isinstance(found, Fault)
    assert (found.file, found.line, found.column) == (file, line, column)
    assert valid in found.valid
    assert found.sentence in str(refused.value)
    assert set(counts(shop).values()) == {0}


@pytest.mark.parametrize(
    ("changed", "file", "line", "valid"),
    [
        ({"items": item(2, cost="5.01")}, "items.csv", 2, "history is never rewritten"),
        ({"items": item(5, end_date="2025-06-01T00:00:00Z")}, "items.csv", 5, "history is never rewritten"),
        (
            {"items": [GOOD["items"][0], "tank,T,F,1,1,2024-01-01T00:00:00Z,2024-02-01T00:00:00Z"]},
            "items.csv",
            2,
            "change it through shop.items",
        ),
        ({"sales": [GOOD["sales"][0], "one,ada,2025-01-15T12:00:01Z,open"]}, "sales.csv", 2, "that the database has"),
        ({"sales_details": [GOOD["sales_details"][0], "one,film,3,"]}, "sales_details.csv", 2, "2 at 5.00, as in the"),
        ({"members": [GOOD["members"][0], "ada,active,2024-01-02"]}, "members.csv", 2, "2024-01-01, as in the"),
    ],
)
def test_a_load_that_contradicts_the_database_is_refused(
    shop: str, tmp_path: Path, changed: dict, file: str, line: int, valid: str
):
    load(shop, read_folder(folder(tmp_path)))
    before = counts(shop)
    with pytest.raises(LoadRefused) as refused:
        load(shop, read_folder(folder(tmp_path, **changed)))
    (found,) = refused.value.faults
    assert (found.file, found.line) == (file, line)
    assert valid in found.valid
    assert counts(shop) == before


def test_a_load_adds_behind_what_an_item_has_lived_through(shop: str, tmp_path: Path):
    with psycopg.connect(shop, autocommit=True) as connection:
        add_item(connection, "film")
        connection.execute("DELETE FROM shop.items")
    with pytest.raises(LoadRefused, match="a load adds behind what the item has"):
        load(shop, read_folder(folder(tmp_path)))


def test_many_faults_are_all_kept_and_twenty_are_shown(shop: str, tmp_path: Path):
    lines = [*GOOD["sales"], *(f"s{number},ada,today,open" for number in range(30))]
    with pytest.raises(LoadRefused, match="and 10 more") as refused:
        load(shop, read_folder(folder(tmp_path, sales=lines)))
    assert len(refused.value.faults) == 30


def test_no_group_and_no_service_loads(stack: LiveStack, shop: str, tmp_path: Path):
    name = psycopg.conninfo.conninfo_to_dict(shop)["dbname"]
    low = psycopg.conninfo.make_conninfo(stack.settings("shop").postgres_dsn, dbname=name)
    with pytest.raises(ShopRefused, match="permission denied"):
        load(low, read_folder(folder(tmp_path)))


def test_a_folder_without_the_files_or_with_another_encoding_is_told(tmp_path: Path):
    with pytest.raises(FolderRefused, match=r"none of the shop's files. Valid names: items.csv, members.csv"):
        read_folder(tmp_path)
    with pytest.raises(FolderRefused, match="is no folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "items.csv").write_bytes("Größe".encode("latin-1"))
    (fault,) = read_folder(tmp_path)["items"]
    assert isinstance(fault, Fault)
    assert fault.valid == "UTF-8 throughout the file"


def test_the_made_up_shop_loads_whole_and_its_totals_are_those_of_its_time(shop: str):
    rows = demo_shop()
    first = load(shop, rows)
    assert first.added == first.given
    assert load(shop, rows) == Loaded(first.given, dict.fromkeys(first.given, 0))
    wrong = """
    SELECT count(*) FROM shop.sales s JOIN (
        SELECT sale_id, sum(quantity * price) AS price, sum(quantity * v.weight_kg) AS weight
        FROM shop.sales_details d JOIN LATERAL shop.items_as_of(d.sold_at) v USING (item_id) GROUP BY 1
    ) t USING (sale_id) WHERE (s.total_price, s.total_weight_kg) <> (t.price, t.weight) OR s.sale_id > 'sale-000200'
    """.replace("shop.sales_details d", "(SELECT * FROM shop.sales_details WHERE sale_id <= 'sale-000200') d")
    with psycopg.connect(shop) as connection:
        assert connection.execute(wrong).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM shop.sales WHERE total_price = 0").fetchone() == (0,)
