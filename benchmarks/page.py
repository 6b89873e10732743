"""A page of documentation with figures in it, each between two marks of its own, which a later run writes anew."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Figure, shown


def put_between(page: str, begin: str, end: str, lines: Sequence[str]) -> str:
    """A page with lines between two marks, in the place of what stood there.

    Raises:
        ValueError: it has no such marks.
    """
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"The page has no place for figures: lines with {begin} and {end}.")
    return "\n".join([head + begin, "", *lines, "", end + tail])


def marks(name: str) -> tuple[str, str]:
    """The two marks of a benchmark's section."""
    return f"<!-- printed by make bench: {name} -->", f"<!-- end of {name} -->"


def put_section(page: str, name: str, about: str, said: str, figures: Sequence[Figure]) -> str:
    """A page with a benchmark's figures in its section, which comes at the end where there was none.

    Args:
        about: the benchmark's docstring; its first paragraph is the title, the rest says how it is measured.
        said: when and where it was run.
    """
    begin, end = marks(name)
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    title, _, how = about.strip().partition("\n\n")
    return put_between(
        page, begin, end, [f"## {_line(title).rstrip('.')}", "", _line(how), "", said, "", *rows(figures)]
    )


def rows(figures: Sequence[Figure]) -> list[str]:
    """A Markdown table."""
    lines = ["| figure | value | aim | | how |", "| --- | --- | --- | --- | --- |"]
    for figure in figures:
        aim = "" if figure.aim is None else f"{figure.against} {shown(figure.aim)}"
        verdict = {True: "reached", False: "**missed**", None: ""}[figure.reached]
        cells = (figure.name.strip(), f"{shown(figure.value)} {figure.unit}".strip(), aim, verdict, figure.detail)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines


def _line(text: str) -> str:
    return " ".join(text.split())
