"""What bytes are, by their first kilobyte: the door asks on its event loop, so no answer may take long."""

from __future__ import annotations

import time

import pytest

from transforms.image_formats import kind_of, other_image, taken_format

COMMENTS = b"<!---->"
NOTHING_TAKES_THIS_LONG = 1.0


@pytest.mark.parametrize(
    "svg",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a --> <!-- b -->\n<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG//'>\n<svg>",
        b"  <!--<svg>--><s:svg>",
        COMMENTS * 100 + b"<svg>",
    ],
)
def test_an_svg_is_known_by_its_first_element(svg: bytes):
    assert other_image(svg) == "SVG"


@pytest.mark.alone
@pytest.mark.parametrize(
    "hostile",
    [
        COMMENTS * 200,
        b"<?xml?>" + COMMENTS * 200,
        b"<!DOCTYPE svg>" * 100,
        (b"<!--" + b" " * 3 + b"--> ") * 100,
        b" " * 1024,
        b"P1" + b" " * 1022,
        b"P6\n" + b"#\n" * 510,
        b"<!--" * 256,
        b"<?xml " * 170,
    ],
    ids=["comments", "xml", "doctypes", "spaced", "blank", "pbm", "pbm-comments", "open", "declarations"],
)
def test_no_kilobyte_holds_up_whoever_looks_at_it(hostile: bytes):
    """Bug prevented: the pattern for SVG tried 2**100 ways to divide a hundred comments, and one upload hung a door."""
    began = time.process_time()
    assert taken_format(hostile) is None
    assert other_image(hostile) is None
    assert kind_of(hostile) in {"text", "an XML document"}
    assert time.process_time() - began < NOTHING_TAKES_THIS_LONG
