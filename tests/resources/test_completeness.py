"""Bronze against a real broker: green where nothing is missing, whatever the records hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.completeness import Range, verify_bronze
from resources.kafka import client_config, watermarks
from tests.live_stack import LiveStack
from tests.resources.raw_producer import produce_raw
from tests.resources.stream import Stream, own_stream

pytestmark = pytest.mark.stack


@pytest.fixture
def stream(stack: LiveStack, tmp_path: Path) -> Iterator[Stream]:
    """A topic of one partition and an empty lake."""
    with own_stream(stack.settings("admin"), tmp_path, partitions=1) as made:
        yield made


def test_a_header_name_that_is_no_text_does_not_stop_the_comparison(stream: Stream) -> None:
    """Else one such record would block developing for ever: the first and the last of a range are always compared."""
    headers = [(b"good", b"0"), (b"\xff\xfe", b"1"), (b"after", b"2")]
    produce_raw(client_config(stream.settings), stream.topic, 0, b"k", b"v", headers)
    stream.lander().land()
    state = watermarks(stream.settings, stream.topic)
    found = verify_bronze(stream.settings, stream.lake, state, [Range(0, 0, 1)])
    assert (found.problems, found.compared_records) == ([], 1)
