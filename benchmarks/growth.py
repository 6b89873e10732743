"""What each hot path costs as that grows which gathers: commits, files, days, versions of an item, uploaders.

CPU milliseconds of this process, the median of a few, each path at 10, 100, 1,000 and 10,000. Pictures are decoded
elsewhere, by as many processes at each size. An aim is how much more may be paid for a thousand times as much.

The picture: ![cost by size](growth.svg)
"""

from __future__ import annotations

import base64
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._house import develop_all, house, land_sealed, small_photographs
from benchmarks._items import DAY, KEY, item_events
from benchmarks._rows import rows_of
from benchmarks._sealed import sealed_records
from benchmarks.dimension import as_events
from benchmarks.figures import Figure, median, shown
from resources.decoding import DecodePool
from resources.event_log import open_log
from resources.keys import open_key_store
from resources.lake import Lake
from resources.lake_commits import CHECKPOINT_EVERY
from resources.settings import Settings
from resources.upkeep import maintain
from resources.version_table import VersionTable
from services.uploads.lake_rows import LakeRows
from transforms.shop_tables import DIM_ITEM, ITEM_EVENTS
from transforms.tables import PROCESSED_IMAGES, RAW_IMAGES, TableSpec

ALONE = True
"""Needs no stack."""

SIZES = (10, 100, 1_000, 10_000)
UPKEEP_EVERY = 400
"""Commits between two upkeeps: an hour's, when something lands every nine seconds."""
ASKED = 20
"""How often the quick ones are measured at each size."""
NEW_IMAGES, ITEMS = 50, 100
AIM = 2.0

Curve = dict[int, float]
"""CPU milliseconds by size."""


def run() -> list[Figure]:
    """Measure; about ten CPU-minutes."""
    committed, opened = "a landing's commit", "a table opened"
    paths: list[tuple[list[tuple[str, str]], Callable[[Path], Sequence[Curve]]]] = [
        ([(committed, "commits in its table"), (opened, "commits in it")], _commits),
        ([(committed, "files that upkeep has not joined yet"), (opened, "files in it")], _unjoined),
        ([("a batch developed", "files of days long done")], _developed),
        ([("an image asked for at the door", "files of other days")], _asked),
        ([("upkeep of a table with nothing to do", "files in it")], _kept_up),
        ([("an uploader's first key of a day", "uploaders that day")], _keys),
        ([("a key opened", "uploaders that day")], _opened_keys),
        ([("a batch of changed items", "versions an item")], _versions),
    ]
    figures = []
    for names, measure in paths:
        with tempfile.TemporaryDirectory(prefix="darkroom-growth-") as folder:
            curves = measure(Path(folder))
        figures += [_figure(name, of, curve) for (name, of), curve in zip(names, curves, strict=True)]
    return figures


def draw(figures: Sequence[Figure], folder: Path) -> None:
    """The picture of the page: what each costs, as times what it costs at the smallest size."""
    import matplotlib

    matplotlib.use("svg")
    # No date and no random ids, so that the file changes when the figures do.
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    for one in figures:
        sizes, costs = zip(*one.series, strict=True)
        axes.plot(sizes, [cost / costs[0] for cost in costs], marker="o", label=one.name)
    axes.set(xscale="log", yscale="log", xlabel="how much has gathered", ylabel="times the cost at the smallest size")
    axes.axhline(AIM, color="grey", linestyle=":", label="the aim")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / "growth.svg", metadata={"Date": None})
    pyplot.close(figure)


def _figure(name: str, of: str, curve: Curve) -> Figure:
    sizes = sorted(curve)
    told = ", ".join(shown(curve[size]) for size in sizes)
    at = ", ".join(f"{size:,}" for size in sizes)
    ratio = curve[sizes[-1]] / curve[sizes[0]]
    detail = f"{told} CPU-ms at {at}"
    series = tuple((size, curve[size]) for size in sizes)
    return Figure(f"{name}, by {of}", ratio, "times", AIM, "at most", detail, series)


def _commits(folder: Path) -> tuple[Curve, Curve]:
    """As landing commits, for which each run opens the table; upkeep joins the files about as often as each hour."""
    lake, landing = Lake(str(folder)), _Landing(folder)
    committed, opened = [], []
    for number in range(max(SIZES) + UPKEEP_EVERY):
        committed.append(_cpu(landing.commit))
        opened.append(_cpu(lambda: lake.open(RAW_IMAGES.name)))
        if number % UPKEEP_EVERY == UPKEEP_EVERY - 1:
            maintain(lake, RAW_IMAGES)

    def curve(costs: list[float]) -> Curve:
        # A mean over all that happens from one upkeep to the next.
        return {size: sum(costs[size : size + UPKEEP_EVERY]) / UPKEEP_EVERY for size in SIZES}

    return curve(committed), curve(opened)


def _unjoined(folder: Path) -> tuple[Curve, Curve]:
    """With as many files as there are when nobody keeps the table up."""
    committed, opened = {}, {}
    for size in SIZES:
        lake = Lake(str(folder / str(size)))
        _old_files(lake, RAW_IMAGES, size)
        opened[size] = _median(lambda lake=lake: lake.open(RAW_IMAGES.name))
        landing = _Landing(folder / str(size))
        costs = [_cpu(landing.commit) for _ in range(CHECKPOINT_EVERY)]
        committed[size] = sum(costs) / len(costs)
    return committed, opened


class _Landing:
    """Commits of one row each, as landing makes them: its handle is opened anew after a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self._lake, self._number = Lake(str(folder)), 0
        self._handle = self._lake.ensure(RAW_IMAGES)
        self._row = rows_of(RAW_IMAGES, date(2026, 3, 5), 1)

    def commit(self) -> None:
        before = self._handle.version()
        version = self._lake.append(self._handle, RAW_IMAGES, self._row, {"bench": self._number})
        self._number += 1
        if version // CHECKPOINT_EVERY != before // CHECKPOINT_EVERY:
            self._handle = self._lake.open(RAW_IMAGES.name)


def _developed(folder: Path) -> list[Curve]:
    curve, pictures = {}, small_photographs()
    for size in SIZES:
        settings, lake = house(folder / str(size))
        _old_files(lake, RAW_IMAGES, size)
        with DecodePool(settings) as pool:
            # The first run opens everything once; the batches after it are what a live table sees.
            develop_all(settings, lake, pool)
            costs = []
            for number in range(3):
                records = sealed_records(settings, pictures, NEW_IMAGES)
                land_sealed(lake, records, number * NEW_IMAGES)
                costs.append(_cpu(lambda settings=settings, lake=lake, pool=pool: develop_all(settings, lake, pool)))
        curve[size] = median(costs)
    return [curve]


def _asked(folder: Path) -> list[Curve]:
    curve, today = {}, datetime.now(UTC).date()
    for size in SIZES:
        settings, lake = house(folder / str(size))
        _old_files(lake, PROCESSED_IMAGES, size)
        lake.append(lake.ensure(PROCESSED_IMAGES), PROCESSED_IMAGES, rows_of(PROCESSED_IMAGES, today, 10), {"now": 1})
        rows = LakeRows(settings, PROCESSED_IMAGES, ["id", "day"])
        assert len(rows.find(f"{3:026d}", today)) == 1
        curve[size] = _median(lambda rows=rows: rows.find(f"{3:026d}", today))
    return [curve]


def _kept_up(folder: Path) -> list[Curve]:
    curve = {}
    for size in SIZES:
        _, lake = house(folder / str(size))
        _old_files(lake, PROCESSED_IMAGES, size, days=size)
        maintain(lake, PROCESSED_IMAGES)
        curve[size] = _median(lambda lake=lake: maintain(lake, PROCESSED_IMAGES), 3)
    return [curve]


def _keys(folder: Path) -> list[Curve]:
    (settings, _), curve = house(folder), {}
    for size in _uploaders(settings):
        store = open_key_store(settings)
        curve[size] = _median(lambda store=store: store.current_key(_today(), _somebody()))
    return [curve]


def _opened_keys(folder: Path) -> list[Curve]:
    """By a process that has not opened it before."""
    (settings, _), curve = house(folder), {}
    for size in _uploaders(settings):
        name = open_key_store(settings).current_key(_today(), _somebody()).name
        curve[size] = _median(lambda name=name: open_key_store(settings).open_key(name))
    return [curve]


def _versions(folder: Path) -> list[Curve]:
    curve = {}
    for size in SIZES:
        lake = Lake(str(folder / str(size)))
        rng = np.random.default_rng(size)
        ids = np.tile(np.arange(ITEMS), size)
        made = item_events(rng, ids, np.arange(len(ids)) * 1_000_000, "before")
        open_log(lake, ITEM_EVENTS).append(as_events(made), {})
        VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh()
        costs = []
        for number in range(1, 6):
            times = len(ids) * 1_000_000 + number * DAY + rng.integers(0, DAY, ITEMS)
            open_log(lake, ITEM_EVENTS).append(
                as_events(item_events(rng, np.arange(ITEMS), times, f"day-{number}")), {}
            )
            costs.append(
                _cpu(lambda lake=lake: VersionTable(lake, DIM_ITEM, open_log(lake, ITEM_EVENTS), KEY).refresh())
            )
        curve[size] = median(costs)
    return [curve]


def _old_files(lake: Lake, spec: TableSpec, count: int, days: int = 300) -> None:
    """Files of days long done, of another topic id, so that nothing in them waits."""
    handle = lake.ensure(spec)
    first = datetime.now(UTC).date() - timedelta(days=400 + days)
    place = spec.schema.get_field_index("topic_id")
    tables = []
    for number in range(count):
        rows = rows_of(spec, first + timedelta(days=number % days), 1)
        tables.append(rows.set_column(place, spec.schema.field(place), pa.array(["BBBBBBBBQACAAAAAAAAAAA"])))
    lake.replace_files(handle, spec, tables, [], {"old": 1})


def _uploaders(settings: Settings) -> Iterator[int]:
    """Each size in turn, once so many uploaders have a key of today."""
    store, made = open_key_store(settings), 0
    for size in SIZES:
        while made < size:
            store.current_key(_today(), _somebody())
            made += 1
        yield size


def _today() -> date:
    return datetime.now(UTC).date()


def _somebody() -> str:
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def _median(work: Callable[[], object], times: int = 0) -> float:
    return median([_cpu(work) for _ in range(times or ASKED)])


def _cpu(work: Callable[[], object]) -> float:
    """CPU milliseconds of this process, its threads among them."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000
