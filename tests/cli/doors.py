"""Two stand-in doors behind real HTTP semantics (ASGI), and faults between them and the sender.

They keep to the upload service's contract: an answer only once the record is kept, one id for uploader, content and
day, problem+json for refusals. What goes wrong is scripted by a list of faults, one taken a request.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

DOORS = ("https://one.test", "https://two.test")


@dataclass(frozen=True)
class Record:
    """What a door keeps of one accepted request."""

    door: str
    id: str
    image: bytes
    label: str | None
    filename: str | None
    uploaded_at: str
    authorization: str


class Refuse(Exception):
    """A fault: the door answers with this status and these headers."""

    def __init__(self, status: int, headers: dict[str, str] | None = None, detail: str = "no") -> None:
        self.status, self.headers, self.detail = status, headers or {}, detail


class LoseAnswer(Exception):
    """A fault: the record is kept, and the connection breaks before the answer."""


class LoseRequest(Exception):
    """A fault: the connection breaks before the door has anything."""


@dataclass
class Doors(httpx.AsyncBaseTransport):
    """A transport to both doors. `faults` are taken one a request, `judge` may refuse by content."""

    faults: list[Exception] = field(default_factory=list)
    judge: Callable[[bytes], Refuse | None] = lambda image: None
    down: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._app = httpx.ASGITransport(Starlette(routes=[Route("/v1/images", self._take, methods=["POST"])]))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.host)
        if request.url.host in self.down:
            raise httpx.ConnectError("connection refused", request=request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, LoseRequest):
            raise httpx.WriteError("broken pipe", request=request)
        if isinstance(fault, Refuse):
            body = json.dumps({"type": "urn:darkroom:problem:x", "title": "t", "detail": fault.detail})
            return httpx.Response(fault.status, headers=fault.headers, content=body.encode())
        answer = await self._app.handle_async_request(request)
        if isinstance(fault, LoseAnswer):
            raise httpx.ReadError("connection reset", request=request)
        return answer

    async def _take(self, request: Request) -> JSONResponse:
        filename = None
        if request.headers["content-type"].startswith("multipart/"):
            form = await request.form()
            upload = form["file"]
            image, filename = await upload.read(), upload.filename
        else:
            image = await request.body()
        refused = self.judge(image)
        if refused is not None:
            return JSONResponse({"detail": refused.detail}, status_code=refused.status)
        label = dict(request.headers.raw).get(b"x-label")
        uploaded_at = request.headers["x-uploaded-at"]
        day = datetime.fromisoformat(uploaded_at).date().isoformat()
        id = sha256(day.encode() + image).hexdigest()[:26]
        record = Record(
            request.url.hostname or "",
            id,
            image,
            None if label is None else label.decode(),
            filename,
            uploaded_at,
            request.headers["authorization"],
        )
        self.records.append(record)
        offset = len(self.records) - 1
        return JSONResponse(
            {"id": id, "bytes": len(image), "day": day, "topic": "images.raw", "partition": 0, "offset": offset},
            status_code=201,
        )
