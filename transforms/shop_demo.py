"""A shop for demonstrations: made from a seed, the same rows every time.

A shop for photographers: 25 kinds of things with prices and weights as such things have, from makers and people that do
not exist. Two years, 2024 and 2025, so that a second load on any later day finds all of it there. Prices and weights
change, items are removed and some of them return; a sale names only what was to be had at its time, at its price then.
Some items and some members are far more popular than others (weights by rank, as 1/rank^0.8).

Pure: nothing is read, and the time is not asked for.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from transforms.shop_rows import Row

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS, ITEMS, SALES = 200, 500, 20_000

_CENT, _GRAM = Decimal("0.01"), Decimal("0.001")
# Kind, cheapest and dearest in cents, lightest and heaviest in grams.
_KINDS = (
    ("35 mm black-and-white film, 36 exposures", 550, 1400, 28, 34),
    ("35 mm colour film, 36 exposures", 700, 1900, 28, 34),
    ("120 roll film", 500, 1300, 24, 30),
    ("Sheet film 4x5, 25 sheets", 3900, 8900, 420, 480),
    ("Fibre paper 24x30 cm, 50 sheets", 5900, 9900, 1500, 1900),
    ("Resin-coated paper 18x24 cm, 100 sheets", 4500, 7900, 1250, 1500),
    ("Film developer, 1 l", 900, 2400, 1080, 1250),
    ("Paper developer, 1 l", 800, 1900, 1080, 1280),
    ("Stop bath, 1 l", 600, 1200, 1050, 1150),
    ("Rapid fixer, 1 l", 900, 1700, 1200, 1400),
    ("Developing tank for two films", 2200, 4900, 310, 420),
    ("Developing reel", 700, 1600, 60, 90),
    ("Film clip, stainless steel, pair", 400, 1100, 55, 80),
    ("Red safelight, LED", 1900, 6500, 180, 420),
    ("Enlarger timer", 4900, 14900, 480, 900),
    ("Enlarging lens 50 mm f/2.8", 9900, 34900, 110, 190),
    ("Four-blade easel 30x40 cm", 12900, 39900, 3200, 5600),
    ("Contact printing frame 24x30 cm", 3900, 8900, 1400, 2100),
    ("Print tongs, set of three", 500, 1300, 90, 140),
    ("Tray 24x30 cm", 600, 1500, 260, 380),
    ("Negative sleeves, 100 sheets", 1500, 3200, 900, 1300),
    ("Archival box 24x30 cm", 1700, 4200, 700, 1100),
    ("Changing bag", 1900, 4500, 350, 620),
    ("Handheld light meter", 9900, 32900, 95, 210),
    ("Tripod, aluminium", 5900, 19900, 1300, 2900),
)
_MAKERS = (
    "Albers & Quist",
    "Brightwater",
    "Corvin",
    "Dunmore Works",
    "Elmgrund",
    "Fennick",
    "Grauwald",
    "Hollis Optical",
)
_FIRST = (
    "Ada",
    "Bela",
    "Cleo",
    "Dario",
    "Edda",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kira",
    "Levi",
    "Mona",
    "Nils",
)
_LAST = (
    "Amsel",
    "Birke",
    "Corda",
    "Dahlen",
    "Esch",
    "Falk",
    "Gruber",
    "Hain",
    "Imhof",
    "Jansen",
    "Kern",
    "Linde",
    "Moor",
)


@dataclass(frozen=True)
class _Version:
    begin: datetime
    end: datetime | None
    cost: Decimal
    weight_kg: Decimal


def demo_shop(seed: int = 1, members: int = MEMBERS, items: int = ITEMS, sales: int = SALES) -> Mapping[str, list[Row]]:
    """The rows of every table, by its name (transforms.shop_rows.FILES), numbered as if they stood in files.

    Args:
        seed: another one is another shop; its ids are the same.
        members, items, sales: how many; at least one of each.
    """
    chance = random.Random(seed)
    catalogue = [(f"item-{number:04}", *_item(chance, number)) for number in range(1, items + 1)]
    people = [(f"member-{number:04}", _since(chance)) for number in range(1, members + 1)]
    sold, details = _sales(chance, people, catalogue, sales)
    return {
        "items": _rows(
            (id, name, maker, one.cost, one.weight_kg, one.begin, one.end)
            for id, name, maker, versions in catalogue
            for one in versions
        ),
        "members": _rows(
            (id, chance.choices(("active", "paused", "left"), (90, 6, 4))[0], since) for id, since in people
        ),
        "member_contacts": _rows(
            (id, f"{chance.choice(_FIRST)} {chance.choice(_LAST)}", f"{id}@example.org") for id, _ in people
        ),
        "sales": _rows(sold),
        "sales_details": _rows(details),
    }


def _rows(values: Iterable[tuple]) -> list[Row]:
    return [Row(line, one) for line, one in enumerate(values, start=2)]


def _item(chance: random.Random, number: int) -> tuple[str, str, list[_Version]]:
    kind, cheapest, dearest, lightest, heaviest = _KINDS[number % len(_KINDS)]
    maker = _MAKERS[chance.randrange(len(_MAKERS))]
    cost = chance.randint(cheapest, dearest) * _CENT
    weight = chance.randint(lightest, heaviest) * _GRAM
    # Most were there from the first day; the others came later, the last of them half a year before the end.
    at = BEGIN if chance.random() < 0.7 else _between(chance, BEGIN, END - timedelta(days=180))
    versions = []
    for _ in range(chance.choices((0, 1, 2, 3, 4, 5), (10, 25, 30, 20, 10, 5))[0]):
        change = _between(chance, at + timedelta(days=1), at + timedelta(days=260))
        if change >= END:
            break
        versions.append(_Version(at, change, cost, weight))
        cost = max(_CENT, (cost * chance.randint(90, 115) / 100).quantize(_CENT))
        if chance.random() < 0.25:
            weight = max(_GRAM, (weight * chance.randint(85, 110) / 100).quantize(_GRAM))
        at = change
    end = None
    if chance.random() < 0.15 and at < END - timedelta(days=30):
        end = _between(chance, at + timedelta(days=7), END - timedelta(days=7))
    versions.append(_Version(at, end, cost, weight))
    if end is not None and chance.random() < 0.5:
        again = _between(chance, end + timedelta(days=1), end + timedelta(days=120))
        if again < END:
            versions.append(_Version(again, None, (cost * chance.randint(100, 120) / 100).quantize(_CENT), weight))
    return f"{kind}, {maker} No. {number}", maker, versions


def _sales(
    chance: random.Random,
    people: list[tuple[str, date]],
    catalogue: list[tuple[str, str, str, list[_Version]]],
    count: int,
) -> tuple[list[tuple], list[tuple]]:
    members, items = _popular(chance, len(people)), _popular(chance, len(catalogue))
    times = sorted(_between(chance, BEGIN + timedelta(days=1), END) for _ in range(count))
    sold, details = [], []
    for number, at in enumerate(times, start=1):
        sale = f"sale-{number:06}"
        lines: dict[str, Decimal] = {}
        wanted = chance.choices((1, 2, 3, 4, 5), (40, 28, 17, 10, 5))[0]
        for tried in itertools.count():
            # Most of what is asked for is to be had; a sale of nothing is none.
            if tried >= wanted and lines:
                break
            id, _, _, versions = catalogue[items(chance)]
            version = next((one for one in versions if one.begin <= at and (one.end is None or at < one.end)), None)
            if version is not None and id not in lines:
                lines[id] = version.cost
                details.append((sale, id, chance.choices((1, 2, 3, 5, 10), (60, 20, 10, 7, 3))[0], version.cost, at))
        sold.append((sale, people[members(chance)][0], at, _status(chance, END - at), None, None))
    return sold, details


def _popular(chance: random.Random, count: int) -> _Draw:
    order = list(range(count))
    chance.shuffle(order)
    return _Draw(order, list(itertools.accumulate(1 / (rank + 1) ** 0.8 for rank in range(count))))


@dataclass(frozen=True)
class _Draw:
    order: list[int]
    heap: list[float]

    def __call__(self, chance: random.Random) -> int:
        return self.order[bisect.bisect(self.heap, chance.random() * self.heap[-1], hi=len(self.heap) - 1)]


def _status(chance: random.Random, age: timedelta) -> str:
    if chance.random() < 0.03:
        return "cancelled"
    days = age.total_seconds() / 86_400
    return "completed" if days > 14 else "shipped" if days > 4 else "packed" if days > 1 else "open"


def _since(chance: random.Random) -> date:
    return (BEGIN - timedelta(days=chance.randint(0, 2000))).date()


def _between(chance: random.Random, first: datetime, last: datetime) -> datetime:
    seconds = max(1, int((last - first).total_seconds()) - 1)
    return first + timedelta(seconds=chance.randrange(seconds), microseconds=chance.randrange(1_000_000))
