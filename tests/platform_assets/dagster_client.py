"""Drives Dagster over GraphQL, as its web UI does."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.signing import owner_client

SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "darkroom"}
LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on InvalidSubsetError { message }
} }"""
RUN = """
query($id: ID!) { runOrError(runId: $id) { ... on Run {
  status runConfigYaml jobName tags { key value }
  eventConnection(limit: 1000) { events { __typename
    ... on MessageEvent { message stepKey }
    ... on ExecutionStepFailureEvent { error { message } }
    ... on MaterializationEvent { assetKey { path } metadataEntries { label ... on IntMetadataEntry { intValue } } }
    ... on ObservationEvent { assetKey { path } metadataEntries { label ... on IntMetadataEntry { intValue } } }
    ... on AssetCheckEvaluationEvent { evaluation { checkName success assetKey { path } } }
  } }
} } }"""
TICKS = """
query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState {
  status ticks(limit: 200) { status timestamp runIds skipReason error { message } cursor }
} } } }"""
RUNS = """
query($filter: RunsFilter) { runsOrError(filter: $filter, limit: 50) {
  ... on Runs { results { runId jobName status } }
} }"""
FRESHNESS = """
query($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {
  assetKey { path } freshnessStatusInfo { freshnessStatus } pools
} }"""


@dataclass
class DagsterClient:
    """A person at Dagster's web UI, who may everything there."""

    home: Path

    def ask(self, query: str, **variables: Any) -> Any:
        """The only field of a query's answer."""
        with owner_client(self.home) as client:
            answer = client.post("/dagster/graphql", json={"query": query, "variables": variables}).json()
        assert not answer.get("errors"), answer["errors"]
        return next(iter(answer["data"].values()))

    def materialize(self, *names: str, checks: bool = True) -> str:
        """Press 'Materialize' (or 'Observe') with these assets selected; returns the run's id."""
        keys = [{"path": ["images", name]} for name in names]
        selector = SELECTOR | {"jobName": "__ASSET_JOB", "assetSelection": keys}
        if not checks:
            selector["assetCheckSelection"] = []
        return self._launch(selector)

    def launch(self, job: str) -> str:
        """Launch a job."""
        return self._launch(SELECTOR | {"jobName": job})

    def run(self, run_id: str) -> dict[str, Any]:
        """A run with its events."""
        return self.ask(RUN, id=run_id)

    def ended(self, run_id: str, seconds: float = 240) -> dict[str, Any]:
        """The run, once it has ended, well or not."""
        deadline = time.monotonic() + seconds
        while (run := self.run(run_id))["status"] not in ("SUCCESS", "FAILURE", "CANCELED"):
            assert time.monotonic() < deadline, run["status"]
            time.sleep(0.5)
        return run

    def finished(self, *run_ids: str, seconds: float = 240) -> list[dict[str, Any]]:
        """The runs, once all have ended well."""
        deadline = time.monotonic() + seconds
        while True:
            runs = [self.run(run_id) for run_id in run_ids]
            ended = [run["status"] in ("SUCCESS", "FAILURE", "CANCELED") for run in runs]
            if all(ended):
                assert [run["status"] for run in runs] == ["SUCCESS"] * len(runs), [
                    event["error"]["message"]
                    for run in runs
                    for event in run["eventConnection"]["events"]
                    if "error" in event
                ]
                return runs
            assert time.monotonic() < deadline, [run["status"] for run in runs]
            time.sleep(0.5)

    def ticks(self, sensor: str) -> dict[str, Any]:
        """State and newest ticks of a sensor."""
        return self.ask(TICKS, selector=SELECTOR | {"sensorName": sensor})["sensorState"]

    def _launch(self, selector: dict[str, Any]) -> str:
        answer = self.ask(LAUNCH, params={"selector": selector, "runConfigData": {}, "mode": "default"})
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]


def materialized(run: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Whole-number metadata of what a run materialized or observed, by asset name."""
    return {
        event["assetKey"]["path"][-1]: {
            entry["label"]: entry["intValue"] for entry in event["metadataEntries"] if "intValue" in entry
        }
        for event in run["eventConnection"]["events"]
        if event["__typename"] in ("MaterializationEvent", "ObservationEvent")
    }


def checked(run: dict[str, Any]) -> dict[str, bool]:
    """Outcomes of a run's checks by `table.check`."""
    evaluations = [event["evaluation"] for event in run["eventConnection"]["events"] if event.get("evaluation")]
    return {f"{one['assetKey']['path'][-1]}.{one['checkName']}": one["success"] for one in evaluations}
