"""Whatever a client writes into the stream, it is answered as the protocol says, and the next client is served.

Hypothesis writes the frames: good images between metadata that is nearly right, text and bytes that are not, opcodes
that do not exist, control frames, fragments, and bytes that are no frame. Nothing here knows the order of things as the
session does; it counts what was kept, and looks at how the connection ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from services.streams.frames import LARGEST_SEQ, ImageMetadata, Violation, metadata_of
from tests.services.streaming import StreamBench, frame_bytes, give, told
from tests.services.uploading import picture

CODES = {1000, 1002, 1003, 1007, 1008, 1009}
"""How a connection may end of what its client wrote; 1011 would be a failure that nobody foresaw."""
QUIET_SECONDS = 0.5
"""Of nothing said, after which nothing is on its way."""

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
members = st.sampled_from(["seq", "label", "filename", "uploaded_at", "sha256", "Seq", ""])
nearly = st.dictionaries(members, plain | st.just(3) | st.just("2026-03-14T12:00:00Z"), max_size=4)
json_text = st.recursive(plain, lambda more: st.lists(more, max_size=3) | nearly, max_leaves=6).map(json.dumps)
texts = st.text(max_size=60) | json_text | nearly.map(json.dumps)


def frame(first: int, data: bytes) -> bytes:
    """A frame with any first byte: flags and opcode."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack("!BH", 0x80 | 126, len(data))
    return bytes([first]) + size + b"\0\0\0\0" + data


good = st.sampled_from([1, 1, 1, 2, 9, 0]).map(lambda step: ("good", step))
bad = st.one_of(
    texts.map(lambda text: ("bytes", frame_bytes(Opcode.TEXT, text.encode("utf-8", "surrogatepass")))),
    st.binary(max_size=200).map(lambda data: ("bytes", frame_bytes(Opcode.BINARY, data))),
    st.tuples(st.integers(0, 255), st.binary(max_size=140)).map(lambda one: ("bytes", frame(*one))),
    st.binary(min_size=1, max_size=30).map(lambda data: ("bytes", data)),
)
written = st.tuples(st.lists(good, max_size=4), st.lists(good | bad, max_size=5)).map(lambda both: [*both[0], *both[1]])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(texts, st.integers(-1, LARGEST_SEQ))
@example('{"seq": 1e400}', -1)
@example('{"seq": NaN}', -1)
@example('{"seq": 1, "label": "\\ud800"}', -1)
def test_metadata_is_read_whole_or_named(text: str, after: int) -> None:
    try:
        found = metadata_of(text, after)
    except Violation as violation:
        assert violation.code in (1002, 1003) and violation.problem.detail
    else:
        assert isinstance(found, ImageMetadata) and found.seq > after


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written)
@example([("good", 1), ("bytes", frame_bytes(Opcode.TEXT, b'{"seq": 2, "label": "\\ud800"}')), ("image", 0)])
@example([("bytes", frame(0x8A, b"a pong that nobody asked for")), ("good", 3)])
@example([("bytes", frame_bytes(Opcode.TEXT, b'{"se', fin=False)), ("bytes", frame(0x80, b'q": 4}')), ("image", 0)])
def test_whatever_is_written_is_answered_and_what_was_kept_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture, written: list[tuple[str, int | bytes]]
) -> None:
    caplog.clear()
    bench = StreamBench(tmp_path_factory.mktemp("home"))
    answers, codes = [], []

    async def scene() -> None:
        parser = ClientProtocol(parse_uri("ws://raw.test/"), state=State.OPEN, max_size=None)
        async with bench.raw() as raw:
            seq = 0
            for kind, what in written:
                if isinstance(what, bytes):
                    raw.writer.write(what)
                elif kind == "good":
                    seq += what  # by nothing: what it was already, which is refused
                    raw.give(seq, picture(seq % 256))
                else:
                    raw.frame(Opcode.BINARY, picture(what))
            # Not closed by us: who closes is told nothing more. What waits for the rest of a frame is left.
            with suppress(TimeoutError):
                while data := await asyncio.wait_for(raw.reader.read(65536), QUIET_SECONDS):
                    parser.receive_data(data)
        for one in parser.events_received():
            if getattr(one, "opcode", None) is Opcode.TEXT:
                answers.append(json.loads(one.data))  # type: ignore[union-attr]
        codes.append(None if parser.close_rcvd is None else parser.close_rcvd.code)
        async with bench.connect("bob") as socket:
            await give(socket, 0, picture(99))
            assert "id" in await told(socket), "the next client is served"

    bench.run(scene)
    accepted = [one for one in answers if "id" in one]
    assert len({one["seq"] for one in accepted}) == len(accepted)
    assert codes[0] is None or codes[0] in CODES
    assert len(accepted) == len(bench.stream.records) - 1, "whoever stays, or is closed, is told of everything"
    event(f"closed with {codes[0]}")
    event(f"accepted {len(accepted)}")
    errors = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert errors == []
