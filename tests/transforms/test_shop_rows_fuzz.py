"""Any text in the place of a file of the shop gives rows and faults, and never another error."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.shop_rows import FILES, Fault, Row, read_rows

FIELDS = st.sampled_from(
    [
        "",
        "1",
        "-1",
        "1e999",
        "NaN",
        "9" * 400,
        "2026-02-30",
        "2026-01-01T00:00:00+00:00",
        "٣",
        "a\0b",
        '"',
        "=1+1",
        "\ud800",
    ]
) | st.text(max_size=12)


@st.composite
def files(draw: st.DrawFn) -> tuple[int, str]:
    """One of the files: its header, mostly right, and some lines of fields that may be anything."""
    number = draw(st.integers(0, len(FILES) - 1))
    names = list(FILES[number].names)
    if draw(st.integers(0, 9)) == 0:
        names = draw(st.permutations(names))[: draw(st.integers(0, len(names)))]
    lines = [",".join(names)]
    for _ in range(draw(st.integers(0, 4))):
        count = len(names) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
        lines.append(",".join(draw(FIELDS) for _ in range(max(0, count))))
    return number, draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(files())
def test_any_lines_are_rows_or_faults_with_what_would_be_right(given_file: tuple[int, str]) -> None:
    number, text = given_file
    for one in read_rows(FILES[number], io.StringIO(text, newline="")):
        assert isinstance(one, Row | Fault)
        if isinstance(one, Row):
            assert len(one.values) == len(FILES[number].columns)
