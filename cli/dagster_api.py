"""What the command asks of Dagster: its GraphQL interface over HTTP, three questions and one order.

Only httpx: Dagster's own client would import all of Dagster, seconds for each command. The queries are checked
against the installed release's schema by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from resources.failures import PermanentFailure, TransientFailure, first_line

UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
FAILED = ("FAILURE", "CANCELED")

UNFINISHED_RUNS = """
query UnfinishedRuns($statuses: [RunStatus!]) {
  runsOrError(filter: {statuses: $statuses}, limit: 50) {
    __typename
    ... on Runs { results { runId jobName status } }
    ... on PythonError { message }
  }
}
"""
LAST_RUNS = """
query LastRuns($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 1) {
    __typename
    ... on Runs {
      results {
        runId jobName status
        eventConnection(limit: 1000) {
          events {
            __typename
            ... on ExecutionStepFailureEvent { error { message cause { message cause { message } } } }
            ... on RunFailureEvent { message error { message cause { message cause { message } } } }
            ... on ExecutionStepOutputEvent {
              metadataEntries { label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } }
            }
          }
        }
      }
    }
    ... on PythonError { message }
  }
}
"""
JOBS = """
query Jobs {
  repositoriesOrError {
    __typename
    ... on RepositoryConnection { nodes { name location { name } pipelines { name } } }
    ... on PythonError { message }
  }
}
"""
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
    ... on Error { message }
  }
}
"""


class DagsterAway(TransientFailure):
    """Dagster's web server did not answer, or not as it should."""


class DagsterRefused(PermanentFailure):
    """Dagster answered and refused what was asked."""


@dataclass(frozen=True)
class Run:
    """One run. `error` is the first line of its first error, "" without one; `outputs` the metadata of its outputs."""

    id: str
    job: str
    status: str
    error: str = ""
    outputs: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in UNFINISHED


class DagsterApi:
    """The GraphQL interface of a running web server.

    Args:
        url: where it is, without `/graphql`.
        client: knows whom to trust and who asks; closed with this.
    """

    def __init__(self, url: str, client: httpx.Client) -> None:
        self.url = url.rstrip("/")
        self._client = client

    def unfinished(self) -> list[Run]:
        """Runs that are queued or in progress, newest first, at most 50."""
        found = self._ask(UNFINISHED_RUNS, {"statuses": list(UNFINISHED)}, "runsOrError")
        return [Run(run["runId"], run["jobName"], run["status"]) for run in found["results"]]

    def last_failure(self) -> Run | None:
        """The newest run that failed or was cancelled, or None."""
        return self._last({"statuses": list(FAILED)})

    def run(self, id: str) -> Run:
        """One run as it is now.

        Raises:
            DagsterRefused: there is no such run.
        """
        found = self._last({"runIds": [id]})
        if found is None:
            raise DagsterRefused(f"Dagster at {self.url} knows no run {id}. Was its database made anew?")
        return found

    def launch(self, job: str, run_config: Mapping[str, Any]) -> str:
        """Start a job; returns the run's id.

        Raises:
            DagsterRefused: no such job (lists those there are), or a configuration it does not take.
        """
        nodes = self._ask(JOBS, {}, "repositoriesOrError")["nodes"]
        holders = [node for node in nodes if job in {found["name"] for found in node["pipelines"]}]
        if not holders:
            names = sorted({found["name"] for node in nodes for found in node["pipelines"]} - {"__ASSET_JOB"})
            valid = ", ".join(names) or "none: did its code load?"
            raise DagsterRefused(f"Dagster at {self.url} has no job {job!r}. Valid ones: {valid}.")
        selector = {
            "repositoryName": holders[0]["name"],
            "repositoryLocationName": holders[0]["location"]["name"],
            "jobName": job,
        }
        params = {"selector": selector, "runConfigData": dict(run_config), "mode": "default"}
        return self._ask(LAUNCH, {"params": params}, "launchRun")["run"]["runId"]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _last(self, filter: Mapping[str, Any]) -> Run | None:
        results = self._ask(LAST_RUNS, {"filter": filter}, "runsOrError")["results"]
        if not results:
            return None
        run = results[0]
        events = run["eventConnection"]["events"]
        outputs: dict[str, int | str] = {}
        for event in events:
            for entry in event.get("metadataEntries") or ():
                value = entry.get("intValue", entry.get("text"))
                if value is not None:
                    outputs[entry["label"]] = value
        return Run(run["runId"], run["jobName"], run["status"], _error_of(events), outputs)

    def _ask(self, query: str, variables: Mapping[str, Any], field_name: str) -> dict[str, Any]:
        try:
            answer = self._client.post(f"{self.url}/graphql", json={"query": query, "variables": variables})
        except httpx.HTTPError as error:
            raise DagsterAway(
                f"Dagster's web server at {self.url} does not answer ({type(error).__name__}: {error}). "
                "`darkroom status` shows whether it runs, `darkroom logs webserver` why not.",
                {"url": self.url},
            ) from error
        try:
            body = answer.json()
        except ValueError as error:
            raise DagsterAway(
                f"{self.url} answered {answer.status_code} with something that is not GraphQL. "
                "Is another program listening on that port? `darkroom status` names the address.",
                {"url": self.url},
            ) from error
        found = (body.get("data") or {}).get(field_name)
        if found is None:
            said = "; ".join(str(error.get("message")) for error in body.get("errors") or ()) or "no data"
            raise DagsterAway(f"Dagster at {self.url} did not answer {field_name}: {first_line(said)}")
        if found["__typename"] == "PythonError":
            # What went wrong inside, mostly its database or code server being away for a moment.
            raise DagsterAway(f"Dagster at {self.url} failed at {field_name}: {first_line(found['message'])}")
        if found["__typename"] not in _GOOD:
            said = found.get("message") or "; ".join(error["message"] for error in found.get("errors") or ())
            raise DagsterRefused(f"Dagster at {self.url} refused: {found['__typename']}, {first_line(said or '')}")
        return cast("dict[str, Any]", found)


_GOOD = frozenset({"Runs", "RepositoryConnection", "LaunchRunSuccess"})


_WRAPPERS = ("dagster._core.errors.", "Exceeded max_retries")
"""How errors begin that only say that there was another one."""


def _error_of(events: list[dict[str, Any]]) -> str:
    """The first line of the first error: of the cause below Dagster's own wrapping, where there is one."""
    for event in events:
        error = event.get("error")
        if error is not None:
            while error["message"].startswith(_WRAPPERS) and error.get("cause"):
                error = error["cause"]
            return first_line(error["message"])
    messages = [event["message"] for event in events if event["__typename"] == "RunFailureEvent"]
    return first_line(messages[0]) if messages else ""
