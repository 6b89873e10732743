"""What is compared when all has come to rest: what clients were told, and what the tables hold.

With polars and the tables' files, not with the platform's own reading of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from tests.soak.traffic import Change, Changes
from tests.system.history import PROCESSED, QUARANTINED, RAW, read

ITEM_EVENTS = "shop/item_events"
_PLACE = ("topic", "topic_id", "partition", "offset")


def unjudged(lake_root: str) -> Iterator[str]:
    """Records of bronze that were neither developed nor refused with a reason, as a sentence."""
    raw = read(lake_root, RAW, [*_PLACE, "headers", "payload_sha256"])
    good = read(lake_root, PROCESSED, [*_PLACE, "id"])
    bad = read(lake_root, QUARANTINED, [*_PLACE, "reason", "detail"])
    silent = bad.filter(pl.col("reason").is_null() | (pl.col("reason") == "") | pl.col("detail").is_null())
    if silent.height:
        yield f"{silent.height} rejected records have no reason"
    judged = raw.join(pl.concat([good.select(_PLACE), bad.select(_PLACE)]), on=_PLACE, how="semi")
    left = raw.join(judged, on=_PLACE, how="anti")
    # A resend stands in bronze, and its image is developed once, from another record: of the same id, or unsealed of
    # the same bytes.
    ids, bodies = set(good["id"].to_list()), set(judged["payload_sha256"].to_list())

    def seen(row: dict[str, Any]) -> bool:
        id = _id(row["headers"])
        return row["payload_sha256"] in bodies if id is None else id in ids

    lost = [row for row in left.iter_rows(named=True) if not seen(row)]
    if lost:
        where = {name: lost[0][name] for name in ("partition", "offset")}
        yield f"{len(lost)} records were neither developed nor rejected, the first at {where}"


def _id(headers: Sequence[dict[str, Any]] | None) -> str | None:
    """The id that a door gave."""
    given = {one["key"] for one in headers or ()}
    for one in headers or ():
        if "via" in given and one["key"] == "id" and one["value"] is not None:
            return bytes(one["value"]).decode("ascii", "replace")
    return None


def wrong_items(lake_root: str, mark: str, told: Sequence[Changes]) -> Iterator[str]:
    """Events of items that are not what was committed, as sentences.

    Args:
        mark: begins the ids of the writers' items.
        told: what each of them was told.
    """
    committed = [change for one in told for change in one.committed]
    perhaps = {change for one in told for change in one.perhaps}
    events = read(lake_root, ITEM_EVENTS, ["item_id", "op", "cost", "arrival"]).filter(
        pl.col("item_id").str.starts_with(mark)
    )
    seen: Counter[Change] = Counter()
    order: dict[str, list[tuple[str, Any]]] = {}
    for item, op, cost, _ in events.sort("arrival").iter_rows():
        change = Change(item, op, None if op == "delete" else cost)
        seen[change] += 1
        order.setdefault(item, []).append((op, change.cost))
    missing = [one for one in committed if not seen[one]]
    if missing:
        yield f"{len(missing)} committed changes are no event, the first: {missing[0]}"
    doubled = [one for one, count in seen.items() if count > 1]
    if doubled:
        yield f"{len(doubled)} changes are more than one event, the first: {doubled[0]}"
    invented = [one for one in seen if one not in set(committed) | perhaps]
    if invented:
        yield f"{len(invented)} events are of no change, the first: {invented[0]}"
    for item, found in order.items():
        wanted = [(one.op, one.cost) for one in committed if one.item == item]
        if [one for one in found if one in set(wanted)] != wanted:
            yield f"the events of {item} are not in the order of its commits"
            return
