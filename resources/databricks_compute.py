"""Databricks as a backend: a job cluster of its own for each piece of work runs this wheel, and is gone afterwards.

It rests on `PipesDatabricksClient` of dagster-databricks: the job's log comes back into Dagster's event log while it
runs, and a run that is stopped in Dagster cancels the job. What travels is in a folder of a Unity Catalog volume
(resources/databricks_task.py), which goes when the results have been read; nothing in it opens a key. The process that
asked commits, so that tables keep one writing engine.

Which failures are worth another try goes by the code of the Jobs API: what the platform or the cloud did is, a person's
cancelling and a wrong configuration are not.

Limits: this has not run on Databricks itself, but against a server in tests/ that speaks its interface and runs the
wheel on a real Spark. That wheel and asker are of one release is told by its version alone. Results pass through the
volume and the process that asked. DBUs are not in the job's answer: `system.billing.usage` has them, by the tag
`asset`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import pickle
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from resources.compute import DATABRICKS, BatchFunction, ComputeExhausted, ComputeRefused, ComputeUnavailable, Span
from resources.databricks_task import DONE, FAILED, RESULT, WORK
from resources.object_storage import Storage
from resources.settings import Settings
from resources.spark_work import Work, bounds_of

if TYPE_CHECKING:
    import dagster as dg
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.jobs import Run, SubmitTask

SPAN_ROWS = 65_536
"""Rows of one job: a cluster takes minutes to start."""
ENTRY_POINT = "darkroom-compute"
LOOK_SECONDS = 5.0
CLUSTER: Mapping[str, Any] = {
    # The newest with long support that brings Python 3.12 and Delta 3.3.
    "spark_version": "16.4.x-scala2.13",
    # Instances of this family encrypt what crosses between them.
    "node_type_id": "m6i.xlarge",
    "autoscale": {"min_workers": 1, "max_workers": 8},
    "data_security_mode": "SINGLE_USER",
    # The driver stays when spot instances go; without any to be had, ordinary ones are taken.
    "aws_attributes": {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1},
}
"""Fields of a job's cluster; those in the file that the setting `databricks_cluster` names win."""


_STAYS = frozenset(
    {
        "BUDGET_POLICY_LIMIT_EXCEEDED",
        "DISABLED",
        "FEATURE_DISABLED",
        "INVALID_CLUSTER_REQUEST",
        "INVALID_RUN_CONFIGURATION",
        "LIBRARY_INSTALLATION_ERROR",
        "RESOURCE_NOT_FOUND",
        "UNAUTHORIZED_ERROR",
        "USER_CANCELED",
    }
)
"""Codes of the Jobs API's `termination_details` that another try does not change."""


class DatabricksCompute:
    """Jobs on Databricks.

    Args:
        settings: those whose names begin with `databricks_`, and what the functions need.
        storage: where the lake lies; the cluster's instance profile has to reach it.
        context: of the step that asks; logs of the job become its own.
        asset: whose work it is; a tag of the cluster.
        look_seconds: between two questions how the job is.

    Raises:
        ComputeRefused: a setting is missing, or the library is not installed.
    """

    name = DATABRICKS
    span_rows = SPAN_ROWS

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        context: dg.OpExecutionContext | dg.AssetExecutionContext,
        asset: str,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        if importlib.util.find_spec("dagster_databricks") is None:
            raise ComputeRefused(
                "The backend is Databricks, and its library is not installed: `pip install darkroom[spark]`."
            )
        needed = ("databricks_host", "databricks_volume", "databricks_wheel")
        if missing := [name for name in needed if not getattr(settings, name)]:
            raise ComputeRefused(f"The backend is Databricks, and {', '.join(missing)} is not set; docs/databricks.md.")
        self._settings = settings
        self._storage = storage
        self._context = context
        self._asset = asset
        self._look_seconds = look_seconds
        self._cluster = {**CLUSTER, **_own_fields(settings)}
        self._spent = {"CPU seconds there": 0.0, "jobs": 0}
        self._page = ""

    @property
    def spent(self) -> dict[str, float | str]:
        """What the work took so far, for people."""
        return {**self._spent, **({"last job": self._page} if self._page else {})}

    def map_batches(self, function: BatchFunction, span: Span) -> Iterator[pa.RecordBatch]:
        """See `resources.compute.Compute.map_batches`."""
        with self._answered(f"{span.rows} rows of {span.spec.name}"):
            client = self._client()
            with self._folder(client) as folder:
                client.files.upload(f"{folder}/{WORK}", io.BytesIO(pickle.dumps(Work.of(function, self._settings))))
                done = self._run(client, folder, span)
                for name in done["files"]:
                    yield from _download(client, f"{folder}/{RESULT}/{name}").cast(function.result).to_batches()
        self._spent["CPU seconds there"] += done["cpu_seconds"]
        self._spent["jobs"] += 1

    def _run(self, client: WorkspaceClient, folder: str, span: Span) -> dict[str, Any]:
        # The one that Pipes raises; this release's, for it is not exported (dagster is pinned).
        from dagster._core.errors import DagsterPipesExecutionError
        from dagster_databricks import PipesDatabricksClient
        from dagster_databricks.pipes import (
            PipesUnityCatalogVolumesContextInjector,
            PipesUnityCatalogVolumesMessageReader,
        )

        volume = self._settings.databricks_volume.rstrip("/")
        pipes = PipesDatabricksClient(
            client,
            context_injector=PipesUnityCatalogVolumesContextInjector(client=client, volume_path=volume),
            message_reader=PipesUnityCatalogVolumesMessageReader(
                client=client, volume_path=volume, interval=self._look_seconds
            ),
            poll_interval_seconds=self._look_seconds,
        )
        asked = {
            "folder": folder,
            "uri": f"{self._storage.root.rstrip('/')}/{span.spec.name}",
            "table": span.spec.name,
            "version": span.version,
            "bounds": bounds_of(span),
            "rows": span.rows,
            "release": version("darkroom"),
        }
        name = f"darkroom {self._asset} {folder.rpartition('/')[2]}"
        try:
            pipes.run(
                context=self._context,
                task=self._task(),
                extras=asked,
                # A submission whose answer was lost is sent again, and must not become two jobs.
                submit_args={"run_name": name, "idempotency_token": uuid.uuid4().hex, "timeout_seconds": self._limit},
            )
        except DagsterPipesExecutionError as error:
            raise self._failed(client, name, folder, span) from error
        found = _read_json(client, f"{folder}/{DONE}")
        if found is None:
            raise self._failed(client, name, folder, span)
        self._page = _page_of(_run_named(client, name))
        return found

    @property
    def _limit(self) -> int:
        return self._settings.databricks_timeout_seconds

    def _task(self) -> SubmitTask:
        from databricks.sdk.service.jobs import SubmitTask

        tags = {"platform": "darkroom", "asset": self._asset.replace("/", "."), **self._cluster.get("custom_tags", {})}
        cluster = {**self._cluster, "custom_tags": tags}
        if self._settings.databricks_policy:
            cluster |= {"policy_id": self._settings.databricks_policy, "apply_policy_default_values": True}
        return SubmitTask.from_dict(
            {
                "task_key": "compute",
                "new_cluster": cluster,
                "libraries": [{"whl": self._settings.databricks_wheel}],
                "python_wheel_task": {"package_name": "darkroom", "entry_point": ENTRY_POINT},
                "timeout_seconds": self._limit,
            }
        )

    def _failed(self, client: WorkspaceClient, name: str, folder: str, span: Span) -> Exception:
        """The failure of a job, of the kind that Databricks says it is."""
        run = _run_named(client, name)
        details = run.status.termination_details if run is not None and run.status is not None else None
        code = details.code.value if details and details.code else "UNKNOWN"
        kind = details.type.value if details and details.type else "UNKNOWN"
        told = _read_json(client, f"{folder}/{FAILED}")
        state = run.state.state_message if run is not None and run.state is not None else ""
        said = told["said"] if told else (details.message if details and details.message else state)
        page = _page_of(run)
        facts = {"backend": DATABRICKS, "code": code, "kind": kind, "page": page, "rows": span.rows}
        sentence = (
            f"The Databricks job for {span.rows} rows of {span.spec.name} ended as {code} ({kind}): "
            f"{said or 'it said nothing'}. Nothing was judged; what was committed before stands."
        )
        if code in _STAYS or (told is not None and told["permanent"]):
            return ComputeRefused(f"{sentence} It is not tried again: look at {page or 'the job'}.", facts)
        return (ComputeExhausted if told is not None and told["exhausted"] else ComputeUnavailable)(sentence, facts)

    @contextmanager
    def _folder(self, client: WorkspaceClient) -> Iterator[str]:
        from dagster_databricks.pipes import delete_volume_directory_recursive
        from databricks.sdk.errors import DatabricksError

        folder = f"{self._settings.databricks_volume.rstrip('/')}/work/{uuid.uuid4().hex}"
        client.files.create_directory(folder)
        try:
            yield folder
        finally:
            try:
                delete_volume_directory_recursive(client.files, folder)
            except (DatabricksError, OSError) as error:
                # What happened before is what counts; what is left there is sealed.
                self._context.log.warning(f"{folder} stays on Databricks, for it could not be removed: {error}")

    @contextmanager
    def _answered(self, what: str) -> Iterator[None]:
        """Give errors of the interface our names."""
        from databricks.sdk.errors import DatabricksError, NotFound, PermissionDenied, Unauthenticated

        host = self._settings.databricks_host
        try:
            yield
        except (Unauthenticated, PermissionDenied) as error:
            raise ComputeRefused(
                f"Databricks at {host} refuses: {error}. Tried {what}. Look at the token (setting databricks_token), "
                "and what its owner may do: jobs, the cluster policy, the volume.",
                {"backend": DATABRICKS},
            ) from error
        except NotFound as error:
            raise ComputeRefused(
                f"Databricks at {host} has no such thing: {error}. Tried {what}. Look at databricks_volume, "
                "databricks_wheel and databricks_policy.",
                {"backend": DATABRICKS},
            ) from error
        except (DatabricksError, OSError, TimeoutError) as error:
            raise ComputeUnavailable(
                f"Databricks at {host} did not do {what}: {type(error).__name__}: {error}. Nothing was judged.",
                {"backend": DATABRICKS},
            ) from error

    def _client(self) -> WorkspaceClient:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config

        path, host = self._settings.databricks_token, self._settings.databricks_host
        try:
            token = path.read_text().strip() if path is not None else None
            patience = self._settings.databricks_patience_seconds
            config = Config(host=host, token=token, retry_timeout_seconds=patience)
            return WorkspaceClient(config=config.with_user_agent_extra("darkroom", version("darkroom")))
        except OSError as error:
            raise ComputeRefused(f"The token in {path} cannot be read: {error.strerror} (databricks_token).") from error
        except ValueError as error:
            # The library's sentence for credentials that are none names no secret.
            raise ComputeRefused(f"No credentials for Databricks at {host}: {error} (databricks_token).") from error


def _own_fields(settings: Settings) -> dict[str, Any]:
    path = settings.databricks_cluster
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ComputeRefused(f"The cluster's fields in {path} cannot be read: {error} (databricks_cluster).") from error
    if not isinstance(found, dict):
        raise ComputeRefused(f"The cluster's fields in {path} are no JSON object (databricks_cluster).")
    from databricks.sdk.service.compute import ClusterSpec

    # The library leaves out what it does not know, without a word.
    valid = [field.name for field in dataclasses.fields(ClusterSpec)]
    if unknown := sorted(set(found) - set(valid)):
        raise ComputeRefused(
            f"A cluster has no {', '.join(unknown)}, which {path} gives (databricks_cluster). Valid ones: "
            f"{', '.join(valid)}."
        )
    return found


def _run_named(client: WorkspaceClient, name: str) -> Run | None:
    """The job, by its name: the client of Pipes keeps its number to itself where it fails."""
    from databricks.sdk.service.jobs import RunType

    listed = client.jobs.list_runs(run_type=RunType.SUBMIT_RUN, limit=20)
    found = next((run for run in listed if run.run_name == name), None)
    return client.jobs.get_run(found.run_id) if found is not None and found.run_id is not None else None


def _page_of(run: Run | None) -> str:
    return (run.run_page_url or "") if run is not None else ""


def _download(client: WorkspaceClient, path: str) -> pa.Table:
    contents = client.files.download(path).contents
    if contents is None:
        raise OSError(f"{path} came without its contents")
    return pq.read_table(io.BytesIO(contents.read()))


def _read_json(client: WorkspaceClient, path: str) -> dict[str, Any] | None:
    from databricks.sdk.errors import NotFound

    try:
        contents = client.files.download(path).contents
    except NotFound:
        return None
    return json.loads(contents.read()) if contents is not None else None
