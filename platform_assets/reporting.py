"""What a person sees of a run: small tables and pictures, as Dagster metadata.

Dagster's event log lives for ever, so nothing here may show a person's image, label or name, or list image ids:
counts, offsets, seconds and reasons only. Pictures are SVG in a data URI, a few hundred bytes, drawn without a
plotting library: importing one would cost each run more than its work.
"""

import base64
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from resources.compute import Compute

FEWEST_LABELS = 100
"""Fewer labels than these are not shown by class."""

_ROW = 22
_WIDTH = 480
_LABEL = 170


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A small table; an empty one says so."""
    if not rows:
        return dg.MetadataValue.md("none")
    lines = [" | ".join(headers), " | ".join("---" for _ in headers)]
    lines += [" | ".join(_cell(value) for value in row) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def computed_on(far: "Compute | None") -> dict[str, float | str]:
    """Which backend did a run's work, and what it took; None is this process and those that it started."""
    from resources.compute import LOCAL, cpu_seconds

    if far is None:
        return {"computed on": LOCAL, "CPU seconds": round(cpu_seconds(), 1)}
    return {"computed on": far.name, **far.spent}


def bar_chart(
    title: str, bars: Mapping[str, float] | Mapping[str, Decimal], unit: str = ""
) -> dg.MarkdownMetadataValue:
    """Horizontal bars, largest first, one per name; an empty mapping says so."""
    if not bars:
        return dg.MetadataValue.md(f"{title}: none")
    svg = bar_chart_svg(title, bars, unit)
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{encoded})")


def label_chart(title: str, counts: Mapping[str, float]) -> dg.MarkdownMetadataValue:
    """Bars by label, where there are enough of them that none is one person's: the event log lives for ever."""
    if sum(counts.values()) < FEWEST_LABELS:
        return dg.MetadataValue.md(f"{title}: fewer than {FEWEST_LABELS}, too few to show")
    return bar_chart(title, counts)


def bar_chart_svg(title: str, bars: Mapping[str, float] | Mapping[str, Decimal], unit: str = "") -> str:
    """The SVG text of `bar_chart`, readable on a light and on a dark page; decimals stay exact."""
    ordered = sorted(bars.items(), key=lambda bar: (-bar[1], bar[0]))
    most = max(value for _, value in ordered) or 1
    height = _ROW * (len(ordered) + 1) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        'role="img" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#f6f7fb"/>',
        f'<text x="8" y="17" font-weight="bold" fill="#1b2440">{escape(title)}</text>',
    ]
    for index, (name, value) in enumerate(ordered, start=1):
        top = index * _ROW + 4
        length = max(2, round((_WIDTH - _LABEL - 80) * Fraction(value) / Fraction(most)))
        parts.append(f'<text x="8" y="{top + 14}" fill="#1b2440">{escape(name)}</text>')
        parts.append(f'<rect x="{_LABEL}" y="{top + 3}" width="{length}" height="14" rx="3" fill="#4f5bd5"/>')
        parts.append(
            f'<text x="{_LABEL + length + 6}" y="{top + 14}" fill="#1b2440">{_number(value)}{escape(unit)}</text>'
        )
    return "".join([*parts, "</svg>"])


def _number(value: float | Decimal) -> str:
    if isinstance(value, Decimal):
        return f"{value:,}"
    return f"{int(value):,}" if float(value).is_integer() else f"{value:,.3g}"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        text = "" if value is None else str(value)
        return text.replace("|", "\\|").replace("\n", " ")
    return _number(value)
