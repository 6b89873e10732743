"""What the command asks of Dagster, answered by the installed release's own web application."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import dagster as dg
import httpx
import pytest
import uvicorn

from cli import dagster_api
from cli.dagster_api import DagsterApi, DagsterAway, DagsterRefused


@dg.op
def counted() -> dg.Output[None]:
    return dg.Output(None, metadata={"tried": 3, "reason": "corrupt"})


@dg.op
def broken() -> None:
    raise RuntimeError("the lake's disk is full\nand more")


@dg.op
def refused() -> None:
    try:
        raise ValueError("the cause below")
    except ValueError as error:
        raise dg.Failure("offsets 3 to 9 were deleted before they landed", allow_retries=False) from error


@dg.op(retry_policy=dg.RetryPolicy(max_retries=1, delay=0))
def retried() -> None:
    raise RuntimeError("tried twice")


@dg.job
def retried_job() -> None:
    retried()


@dg.job
def good_job() -> None:
    counted()


@dg.job
def broken_job() -> None:
    broken()


@dg.job
def refused_job() -> None:
    refused()


@pytest.fixture(scope="module")
def instance(tmp_path_factory) -> Iterator[dg.DagsterInstance]:
    folder = str(tmp_path_factory.mktemp("dagster"))
    with dg.DagsterInstance.local_temp(folder, overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture(scope="module")
def dagster(instance) -> Iterator[DagsterApi]:
    """A web server without a code location, in a thread of this process."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    with (
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        app = create_app_from_workspace_process_context(workspace)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        api = DagsterApi(f"http://127.0.0.1:{listening.getsockname()[1]}", httpx.Client(timeout=20))
        yield api
        api.close()
        server.should_exit = True
        thread.join()


def test_every_query_fits_the_installed_schema():
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    for name in ("UNFINISHED_RUNS", "LAST_RUNS", "JOBS", "LAUNCH"):
        assert validate(schema, parse(getattr(dagster_api, name))) == [], name


def test_a_successful_run_tells_what_its_output_says(instance, dagster):
    done = good_job.execute_in_process(instance=instance)
    run = dagster.run(done.run_id)
    assert (run.job, run.status, run.finished, run.error) == ("good_job", "SUCCESS", True, "")
    assert run.outputs == {"tried": 3, "reason": "corrupt"}


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (broken_job, "the lake's disk is full"),
        (retried_job, "RuntimeError: tried twice"),
        (refused_job, "offsets 3 to 9 were deleted before they landed"),
    ],
)
def test_a_failed_run_tells_its_first_line(instance, dagster, job, said):
    done = job.execute_in_process(instance=instance, raise_on_error=False)
    run = dagster.run(done.run_id)
    assert run.status == "FAILURE"
    assert said in run.error and "\n" not in run.error
    failure = dagster.last_failure()
    assert failure is not None and failure.id == done.run_id


def test_runs_that_are_not_at_their_end_are_found(instance, dagster):
    assert dagster.unfinished() == []
    run = instance.create_run_for_job(good_job, status=dg.DagsterRunStatus.STARTED)
    assert [(found.id, found.status) for found in dagster.unfinished()] == [(run.run_id, "STARTED")]
    instance.delete_run(run.run_id)


def test_an_unknown_run_and_an_unknown_job_are_sentences(dagster):
    with pytest.raises(DagsterRefused, match="knows no run"):
        dagster.run("nowhere")
    with pytest.raises(DagsterRefused, match=r"has no job 'nothing'\. Valid ones: none: did its code load"):
        dagster.launch("nothing", {})


def test_a_web_server_that_is_away_or_something_else_is_a_sentence():
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(DagsterAway, match=r"http://nowhere does not answer .*`darkroom logs webserver`"):
        DagsterApi("http://nowhere", httpx.Client(transport=httpx.MockTransport(refuse))).unfinished()
    other = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>"))
    with pytest.raises(DagsterAway, match="not GraphQL"):
        DagsterApi("http://elsewhere", httpx.Client(transport=other)).unfinished()
