"""CSV rows of the shop: what is good, and an error that names line and column for what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from transforms.shop_rows import ITEMS, SALES, SALES_DETAILS, Fault, Row, ShopFile, read_rows

HEADER = "item_id,name,manufacturer,cost,weight_kg,effective_date,end_date"
GOOD = {
    "item_id": "film",
    "name": "Film",
    "manufacturer": "Corvin",
    "cost": "5.10",
    "weight_kg": "0.030",
    "effective_date": "2025-01-01T00:00:00Z",
    "end_date": "",
}


def read(*lines: str, file: ShopFile = ITEMS) -> list[Row | Fault]:
    return list(read_rows(file, [f"{line}\n" for line in lines]))


def test_a_row_is_read_with_its_types_whatever_the_order_of_columns():
    (row,) = read(
        "effective_date,item_id,name,manufacturer,weight_kg,cost",
        '2025-01-01T01:00:00+01:00,film,"a ""b"", c",m,1,5.10',
    )
    at = datetime(2025, 1, 1, tzinfo=UTC)
    assert row == Row(2, ("film", 'a "b", c', "m", Decimal("5.10"), Decimal(1), at, None))


@pytest.mark.parametrize(
    ("column", "found", "valid"),
    [
        ("cost", "-1", "a number from 0 to 9999999999.99 with at most 2 decimals"),
        ("cost", "1.005", "at most 2 decimals"),
        ("cost", "NaN", "a number"),
        ("cost", "1e3", "a number"),
        ("cost", "1,50", "a number"),
        ("cost", "", "a number"),
        ("cost", "٣", "a number"),
        ("cost", "99999999999", "a number from 0 to 9999999999.99"),
        ("weight_kg", "heavy", "at most 3 decimals"),
        ("item_id", "a b", "1 to 64 of"),
        ("item_id", "", "1 to 64 of"),
        ("item_id", "film\n", "1 to 64 of"),
        ("name", "", "1 to 200 characters"),
        ("name", "x" * 201, "1 to 200 characters"),
        ("name", "a\0b", "1 to 200 characters"),
        ("effective_date", "2025-01-01T00:00:00", "a time with its zone"),
        ("effective_date", "yesterday", "a time with its zone"),
        ("effective_date", "0001-01-01T00:00:00+14:00", "a time with its zone"),
        ("end_date", "never", "a time with its zone"),
    ],
)
def test_a_wrong_field_is_a_fault_with_its_place(column: str, found: str, valid: str):
    fields = [f'"{value}"' for value in (GOOD | {column: found}).values()]
    (fault,) = read(HEADER, ",".join(GOOD.values()), ",".join(fields))[1:]
    assert isinstance(fault, Fault)
    assert (fault.file, fault.column) == ("items.csv", column)
    assert fault.line == 3
    assert valid in fault.valid
    assert ascii(found)[:20] in fault.found


def test_every_wrong_field_of_a_row_is_told():
    assert [fault.column for fault in read(HEADER, "a b,,m,-1,0,2025,")] == [
        "item_id",
        "name",
        "cost",
        "effective_date",
    ]


@pytest.mark.parametrize(
    ("lines", "column", "valid"),
    [
        ([], "(header)", "the columns item_id, name"),
        (["item_id,name"], "(header)", "the columns item_id"),
        ([HEADER + ",colour"], "(header)", "the columns item_id"),
        ([HEADER + ",cost"], "(header)", "once each"),
        ([HEADER, "film,Film"], "(line)", "7 fields, as in the header"),
        ([HEADER, 'film,"Film,m,1,1,2025-01-01T00:00:00Z,'], "(line)", "quotes that are closed"),
        ([HEADER, "x" * 200_000], "(line)", "RFC 4180"),
    ],
)
def test_a_file_of_another_form_is_a_fault_and_no_traceback(lines: list[str], column: str, valid: str):
    (fault,) = read(*lines)
    assert isinstance(fault, Fault)
    assert fault.column == column
    assert valid in fault.valid


@pytest.mark.parametrize("quantity", ["0", "-1", "1.0", "1000001", "", "many"])
def test_a_quantity_is_a_whole_number(quantity: str):
    (fault,) = read("sale_id,item_id,quantity", f"one,film,{quantity}", file=SALES_DETAILS)
    assert isinstance(fault, Fault)
    assert fault.column == "quantity"


def test_a_status_that_is_none_lists_the_valid_ones():
    (fault,) = read("sale_id,membership_id,sold_at,status", "one,ada,2025-01-01T00:00:00Z,lost", file=SALES)
    assert isinstance(fault, Fault)
    assert fault.sentence == (
        "sales.csv line 2, column status: found 'lost'; valid: one of open, packed, shipped, completed, cancelled."
    )


def test_a_row_over_several_lines_is_named_by_its_first():
    lines = [HEADER, 'film,"two', 'lines",m,1,1,2025-01-01T00:00:00Z,', "tank,Tank,m,dear,1,2025-01-01T00:00:00Z,"]
    (good, fault) = read(*lines)
    assert (good.line, fault.line) == (2, 4)


def test_a_byte_order_mark_and_empty_lines_do_no_harm():
    (row,) = read("\ufeff" + HEADER, "", ",".join(GOOD.values()), "")
    assert isinstance(row, Row)
    assert row.line == 3
