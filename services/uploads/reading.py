"""Bodies read under limits, in memory and never on disk: what is not sealed yet may not be left anywhere.

That is why the framework's own form parser is not used: it spools files over 1 MiB to a temporary file, and its
limits leave the size of files out. The multipart grammar is python-multipart's; this module collects its events.
Every limit holds while bytes arrive, whatever Content-Length says or does not say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from services.door.budget import Budget, Lease
from services.door.intake import too_large
from services.door.problems import Kind, Problem

IDLE_SECONDS = 30.0
"""A body of which nothing arrives for so long is given up (408)."""
MOST_FILES = 100
TOTAL_IMAGES = 10
"""A multipart body has at most this many times the largest image."""


@dataclass
class Part:
    """One file of a multipart body: its bytes, or why they were not taken. `headers` has lower-case names."""

    lease: Lease
    filename: str | None = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    problem: Problem | None = None


async def read_image(request: Request, limit: int, lease: Lease) -> bytes:
    """The whole body, at most `limit` bytes, counted against `lease`.

    Raises:
        Problem: TOO_LARGE as soon as that is known, TOO_SLOW, BUSY.
        ClientDisconnect: the sender went away.
    """
    return await read_whole(request, limit, too_large(limit), lease)


async def read_whole(request: Request, limit: int, refusal: Problem, lease: Lease) -> bytes:
    """The whole body, at most `limit` bytes, counted against `lease`.

    Raises:
        Problem: `refusal` as soon as it is known to be larger, TOO_SLOW, BUSY.
        ClientDisconnect: the sender went away.
    """
    _announced(request, limit, refusal)
    body = bytearray()
    async for chunk in _chunks(request):
        if len(body) + len(chunk) > limit:
            raise refusal
        lease.grow(len(chunk))
        body += chunk
    return bytes(body)


async def read_parts(request: Request, limit: int, budget: Budget) -> AsyncGenerator[Part]:
    """The files of a multipart body, each as soon as it is complete; whoever takes a part releases its lease.

    A file over `limit` bytes, or one the budget has no room for, comes as a part with a problem, and the others go on.

    Raises:
        Problem: what ends the reading: MALFORMED, TOO_LARGE (all together), TOO_MANY_FILES, TOO_SLOW.
        ClientDisconnect: the sender went away.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(Kind.MALFORMED, "The Content-Type names no boundary. Let the HTTP library write that header.")
    total = TOTAL_IMAGES * limit
    together = Problem(
        Kind.TOO_LARGE, f"A request has at most {total} bytes in all; this one has more. Send the rest in another."
    )
    _announced(request, total, together)
    collector = _Collector(limit, budget)
    try:
        parser = collector.parser(boundary)
        seen = 0
        async for chunk in _chunks(request):
            seen += len(chunk)
            if seen > total:
                raise together
            parser.write(chunk)
            for part in collector.take():
                yield part
        if not collector.ended:
            raise Problem(Kind.MALFORMED, "The multipart body ends before its closing boundary.")
    except FormParserError as error:
        # Of the parser as a whole: a boundary that is too long is refused before a byte is parsed.
        raise Problem(Kind.MALFORMED, f"The multipart body breaks its grammar: {error}.") from None
    finally:
        collector.abandon()


def _announced(request: Request, limit: int, refusal: Problem) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise refusal


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Problem(Kind.TOO_SLOW, f"Nothing of the body arrived for {IDLE_SECONDS:.0f} seconds.") from None
        if chunk is None:
            return
        if chunk:
            yield chunk


class _Collector:
    """Turns the parser's events into parts."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self.ended = False
        self._limit = limit
        self._budget = budget
        self._files = 0
        self._done: list[Part] = []
        self._part: Part | None = None
        self._body = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()

    def parser(self, boundary: bytes) -> MultipartParser:
        """A parser whose events come here."""
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": self._opened,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def take(self) -> list[Part]:
        """The parts completed since the last call."""
        done, self._done = self._done, []
        return done

    def abandon(self) -> None:
        """Give back what nobody took."""
        for part in [*self.take(), *([self._part] if self._part else [])]:
            part.lease.release()

    def _begin(self) -> None:
        self._headers = {}
        self._body = bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _opened(self) -> None:
        self._part = None
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name, filename = options.get(b"name", b""), options.get(b"filename")
        if name != b"file" and filename is None:
            return  # a plain form field: nobody's image
        self._files += 1
        if self._files > MOST_FILES:
            raise Problem(Kind.TOO_MANY_FILES, f"A request has at most {MOST_FILES} files. Send the rest in another.")
        shown = None if filename is None else filename.decode("utf-8", "replace")
        self._part = Part(self._budget.lease(), shown, self._headers)
        if name != b"file":
            self._part.problem = Problem(
                Kind.BAD_PARAMETER, "The part's name is not `file`; name every image's part `file`."
            )

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part is None or part.problem is not None:
            return
        try:
            if len(self._body) + end - start > self._limit:
                raise too_large(self._limit)
            part.lease.grow(end - start)
        except Problem as problem:
            part.problem = problem
            part.lease.release()
            self._body = bytearray()
            return
        self._body += data[start:end]

    def _end(self) -> None:
        if self._part is not None:
            self._part.body = bytes(self._body)
            self._done.append(self._part)
            self._part = None
        self._body = bytearray()

    def _finish(self) -> None:
        self.ended = True
