"""Requests made from the upload service's own OpenAPI document, good and bad, are answered as the document says.

Schemathesis makes them: values of every parameter and body within its schema and out of it, headers and methods that
are not there. What it found stays as a test of its own beside what it is about.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.uploads.app import create_app
from tests.services.uploading import Bench

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 60
"""Of each operation."""


class Served:
    """The application under the real server, over plain HTTP on loopback."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        app = create_app(bench.settings, edges=bench.edges, now=bench.clock)
        self.server = uvicorn.Server(uvicorn.Config(app, port=self.port, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(Bench(tmp_path_factory.mktemp("home")))
    made.thread.start()
    while not made.server.started:
        time.sleep(0.05)
    yield made
    made.server.should_exit = True
    made.thread.join(30)


@pytest.fixture(scope="module")
def operations(served: Served) -> list[Any]:
    """What the document says that can be asked."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")
    return [one.ok() for one in schema.get_all_operations()]


def played(operation: Any, mode: GenerationMode, examples: int, play: Callable[[Any], None]) -> None:
    """Play with examples of an operation; the smallest that fails is raised."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(operation.as_strategy(generation_mode=mode))
    def test(case: Any) -> None:
        play(case)

    test()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name)
def test_every_answer_is_one_that_the_document_names(
    operations: list[Any], served: Served, mode: GenerationMode
) -> None:
    token = {"Authorization": served.bench.authorised()["Authorization"]}
    done: list[str] = []
    assert len(operations) >= 6

    def play(case: Any) -> None:
        response = case.call(headers=token, timeout=30)
        case.validate_response(response, checks=CHECKS)

    for operation in operations:
        # What takes no parameter and no body cannot be asked wrongly.
        with suppress(Unsatisfiable):
            played(operation, mode, EXAMPLES, play)
            done.append(operation.label)
    assert len(done) >= 4, done


def test_without_a_token_nothing_is_taken_or_told(operations: list[Any], served: Served) -> None:
    before = len(served.bench.stream.records)

    def play(case: Any) -> None:
        response = case.call(headers={"Authorization": "Bearer nothing"}, timeout=30)
        assert 400 <= response.status_code < 500

    for operation in operations:
        if operation.path.startswith("/v1/"):
            played(operation, GenerationMode.POSITIVE, 10, play)
    assert len(served.bench.stream.records) == before
