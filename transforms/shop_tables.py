"""The shop's tables in the lake. Money and weights are decimals, exact, with the digits that PostgreSQL allows."""

from __future__ import annotations

import pyarrow as pa

from transforms.table_spec import INSTANT, TableSpec, column

MONEY = pa.decimal128(12, 2)
SUM = pa.decimal128(22, 2)
KILOGRAMS = pa.decimal128(10, 3)

_ITEM = [
    column("name", pa.string(), "what it is called"),
    column("manufacturer", pa.string(), "who makes it"),
    column("cost", MONEY, "price of one piece"),
    column("weight_kg", KILOGRAMS, "weight of one piece in kilograms"),
]

ITEM_EVENTS = TableSpec(
    name="shop/item_events",
    description="Every change of every item as an event, in order of arrival; only ever added to.",
    schema=pa.schema(
        [
            column("arrival", pa.int64(), "number of the event in order of arrival, from 0 and without gaps", False),
            column("item_id", pa.string(), "which item", False),
            column("op", pa.string(), "upsert or delete", False),
            column("ts", INSTANT, "from when on it holds", False),
            column("seq", pa.int64(), "of several at one instant the highest counts: 1 begins a version, 0 ends one"),
            *_ITEM,
            column("transaction", pa.int64(), "PostgreSQL's transaction; null where rebuilt from the versions"),
            column("change_id", pa.int64(), "number of the change in shop.changes; null where rebuilt"),
            column("changed_at", INSTANT, "when PostgreSQL made the change; null where rebuilt from the versions"),
            column("captured_at", INSTANT, "when it was taken into the lake", False),
        ]
    ),
    statistics=("arrival", "item_id", "ts", "transaction"),
    partition_by=(),
    checks={"known_operations": "op IN ('upsert', 'delete')"},
)

DIM_ITEM = TableSpec(
    name="shop/dim_item",
    description="Every version of every item (SCD type 2), as the events fold.",
    schema=pa.schema(
        [
            column("item_id", pa.string(), "which item", False),
            *_ITEM,
            column("effective_date", INSTANT, "from when on the version holds", False),
            column("end_date", INSTANT, "until before when it holds; null for the current version"),
            column("current_flag", pa.bool_(), "true exactly where end_date is null", False),
        ]
    ),
    statistics=("item_id", "effective_date", "end_date"),
    partition_by=("current_flag",),
    checks={
        "ends_after_it_begins": "end_date IS NULL OR end_date > effective_date",
        # delta-rs writes conditions down without brackets: these need none.
        "current_without_end": "current_flag AND end_date IS NULL OR NOT current_flag AND end_date IS NOT NULL",
    },
)

SALES_WITH_ITEMS = TableSpec(
    name="shop/sales_with_items",
    description="Each detail of a sale with the item as it was at the time of the sale.",
    schema=pa.schema(
        [
            column("sale_id", pa.string(), "which sale", False),
            column("membership_id", pa.string(), "the member it was made to", False),
            column("sold_at", INSTANT, "when", False),
            column("status", pa.string(), "open, packed, shipped, completed or cancelled", False),
            column("item_id", pa.string(), "the item", False),
            column("quantity", pa.int32(), "pieces", False),
            column("price", MONEY, "of one piece, as sold", False),
            column("amount", SUM, "quantity times price", False),
            *_ITEM,
            column("item_version", INSTANT, "effective_date of the item's version; null while it is not captured yet"),
        ]
    ),
    statistics=("sold_at", "item_id"),
    partition_by=(),
    checks={"some_pieces": "quantity > 0"},
)

_WINDOW = [
    column("window", pa.string(), "which stretch of time: all, or the last so many days", False),
    column("window_start", INSTANT, "first instant of it; null for all"),
    column("window_end", INSTANT, "first instant after it: the midnight after the newest sale", False),
    column("rank", pa.int32(), "1 for the first", False),
]

TOP_MEMBERS = TableSpec(
    name="shop/top_members",
    description="The ten members who spent most, for each stretch of time; cancelled sales do not count.",
    schema=pa.schema(
        [
            *_WINDOW,
            column("membership_id", pa.string(), "the member", False),
            column("spent", SUM, "sum of the amounts", False),
            column("sales", pa.int64(), "in how many sales", False),
        ]
    ),
    statistics=("window", "rank"),
    partition_by=(),
    checks={"ranks_from_1": "rank >= 1"},
)

TOP_ITEMS = TableSpec(
    name="shop/top_items",
    description="The three items most bought, for each stretch of time; cancelled sales do not count.",
    schema=pa.schema(
        [
            *_WINDOW,
            column("item_id", pa.string(), "the item", False),
            column("name", pa.string(), "what it was called when it was last sold in that stretch"),
            column("manufacturer", pa.string(), "who made it then"),
            column("pieces", pa.int64(), "how many were bought", False),
            column("amount", SUM, "sum of the amounts", False),
        ]
    ),
    statistics=("window", "rank"),
    partition_by=(),
    checks={"ranks_from_1": "rank >= 1"},
)

SHOP_TABLES: tuple[TableSpec, ...] = (ITEM_EVENTS, DIM_ITEM, SALES_WITH_ITEMS, TOP_MEMBERS, TOP_ITEMS)
