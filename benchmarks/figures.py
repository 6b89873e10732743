"""A figure as measured, with what it is held against, and a table of them.

Ratios are of two measurements taken in one run, one after the other in turn, for machines differ and are shared. A
figure without an aim is there to explain another.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: what was measured.
        value: the measurement.
        unit: of value and aim.
        aim: what it should come to; None where there is none.
        against: whether at least or at most the aim is wanted.
        detail: how it came about: sizes, repeats, spread.
        series: what a picture is drawn of: sizes, and what was measured at each.
    """

    name: str
    value: float
    unit: str
    aim: float | None = None
    against: Literal["at least", "at most"] = "at least"
    detail: str = ""
    series: tuple[tuple[float, float], ...] = ()

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None without one."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.against == "at least" else self.value <= self.aim


def print_table(title: str, figures: Sequence[Figure]) -> None:
    """Print figures for a person."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "value", "aim", "", "how"):
        table.add_column(column, justify="right" if column in ("value", "aim") else "left")
    for figure in figures:
        aim = "" if figure.aim is None else f"{figure.against} {shown(figure.aim)}"
        verdict = {True: "reached", False: "[bold]missed[/bold]", None: ""}[figure.reached]
        table.add_row(figure.name, f"{shown(figure.value)} {figure.unit}".strip(), aim, verdict, figure.detail)
    console = Console()
    # Into a file as wide as it needs: a table of narrow columns cannot be read.
    (console if console.is_terminal else Console(width=160)).print(table)


def spread(values: Sequence[float]) -> str:
    """Smallest to largest of repeated measurements."""
    return f"{shown(min(values))} to {shown(max(values))} in {len(values)} runs"


def median(values: Sequence[float]) -> float:
    """The middle one: a neighbour on the machine spoils single runs."""
    return statistics.median(values)


def shown(value: float) -> str:
    """A number of three digits that count."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"
