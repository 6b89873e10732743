"""Databricks as a backend, against a server that speaks its interface and runs our wheel on a real Spark."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
import polars as pl
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.pipes import utils as pipes_utils

from resources.compute import ComputeRefused, ComputeUnavailable, far_compute, spans_behind
from resources.databricks_compute import DatabricksCompute
from resources.decoding import DecodePool
from resources.develop_batches import DEVELOP, judged_of
from resources.failures import is_permanent
from resources.featuring import compute_features
from resources.recognising import recognise
from resources.settings import Settings
from resources.spark_gateway import quick_java
from tests.databricks_stand_in import DatabricksStandIn, Job, Workspace
from tests.resources.developing.stage import Stage, picture
from tests.resources.learning.registry_in_memory import RegistryInMemory
from tests.resources.learning.test_learning import rows as labelled_rows
from tests.resources.learning.test_learning import step
from tests.resources.test_compute import AT, developer, fill, opened, twin
from transforms.families.digits import DIGITS
from transforms.landing_protocol import Position
from transforms.table_spec import TableSpec
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, QUARANTINED_IMAGES, RAW_IMAGES, RECOGNISED_IMAGES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
Result = TypeVar("Result")


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(Settings(decode_workers=1)) as decoders:
        yield decoders


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def stage(tmp_path: Path, pool: DecodePool) -> Stage:
    """A lake with ten images in bronze."""
    stage = Stage(tmp_path / "stage", pool)
    for number in range(10):
        stage.bronze.sealed(picture(number), partition=number % 2)
    stage.bronze.land()
    return stage


@pytest.fixture(autouse=True)
def no_wait_for_a_log_that_is_on_this_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes waits so long for what a far job may still write after its end, at each job that ends badly."""
    monkeypatch.setattr(pipes_utils, "WAIT_FOR_LOGS_AFTER_EXECUTION_INTERVAL", 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose clusters have Delta, as the real ones do."""
    jars = Settings().jvm_root / "spark"
    root = tmp_path / "volumes"
    root.mkdir()
    conf = {
        "spark.driver.extraClassPath": f"{jars}/*",
        "spark.driver.extraJavaOptions": quick_java(Settings()),
        # Of a table of some rows; fifty tasks read its log otherwise.
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
    }
    with DatabricksStandIn(root, conf) as workspace:
        yield workspace


def settings_of(stage: Stage, workspace: Workspace, wheel: Path, **changed: Any) -> Settings:
    token = stage.settings.home / "token"
    token.write_text(f"{workspace.token}\n")
    volume = workspace.root / "main" / "darkroom" / "work"
    volume.mkdir(parents=True, exist_ok=True)
    given = {
        "compute": "databricks",
        "databricks_host": workspace.url,
        "databricks_token": token,
        "databricks_volume": str(volume),
        "databricks_wheel": str(wheel),
        "databricks_patience_seconds": 30,
        **changed,
    }
    return stage.settings.model_copy(update=given)


def in_a_step(work: Callable[[dg.OpExecutionContext], Result]) -> tuple[Result, list[str]]:
    """What the work gives inside a step of Dagster's, and the step's log; its failure is raised as it was."""
    found: list[Result] = []
    failed: list[BaseException] = []

    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        try:
            found.append(work(context))
        except BaseException as error:
            failed.append(error)
            raise

    @dg.job
    def job() -> None:
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(instance=instance, raise_on_error=False)
        log = [entry.message for entry in instance.all_logs(run.run_id)]
    if failed:
        raise failed[0]
    return found[0], log


def develop(stage: Stage, settings: Settings) -> list[str]:
    """Ids that one job on Databricks develops."""

    def work(context: dg.OpExecutionContext) -> list[str]:
        compute = DatabricksCompute(settings, stage.lake.storage, context, PROCESSED_IMAGES.name, look_seconds=0.2)
        behind = {Position("images.raw", partition, stage.bronze.topic_id): -1 for partition in (0, 1)}
        (span,) = spans_behind(stage.lake, stage.lake.open(RAW_IMAGES.name), RAW_IMAGES, behind, 100)
        return [one.id for one in judged_of(compute.map_batches(DEVELOP, span)).good]

    return in_a_step(work)[0]


def left_in(workspace: Workspace) -> list[Path]:
    """Files that remain in the volume."""
    return [path for path in (workspace.root / "main").rglob("*") if path.is_file()]


def test_all_tables_are_the_same_once_opened_and_no_key_travels(
    tmp_path: Path, pool: DecodePool, workspace: Workspace, wheel: Path
) -> None:
    mine = Stage(tmp_path / "here", pool)
    fill(mine)
    theirs = twin(mine, tmp_path / "there")
    settings = settings_of(theirs, workspace, wheel)
    registry = RegistryInMemory()
    step(registry, labelled_rows())
    travelled = watch(workspace)

    def work(stage: Stage, context: dg.OpExecutionContext | None) -> tuple[Any, ...]:
        def far(spec: TableSpec) -> DatabricksCompute | None:
            if context is None:
                return None
            return DatabricksCompute(settings, stage.lake.storage, context, spec.name, look_seconds=0.2)

        developing = far(PROCESSED_IMAGES)
        done = developer(stage, developing).develop()
        compute_features(stage.lake, stage.keys, lambda: AT, far=far(IMAGE_FEATURES))
        named = recognise(stage.lake, stage.keys, registry, DIGITS, lambda: AT, far=far(RECOGNISED_IMAGES))
        counts = (done.records, done.processed, done.quarantined, done.duplicates, done.positions, named.named)
        return counts, developing.spent if developing else {}

    (there, spent), log = in_a_step(lambda context: work(theirs, context))
    assert work(mine, None)[0] == there
    for spec in (PROCESSED_IMAGES, QUARANTINED_IMAGES, IMAGE_FEATURES, RECOGNISED_IMAGES):
        assert opened(mine, spec) == opened(theirs, spec), spec.name

    assert spent["jobs"] == 1
    assert float(spent["CPU seconds there"]) > 0
    assert str(spent["last job"]).startswith(workspace.url)
    assert any("rows of images/raw_images at version" in line for line in log), "the job's own log came back"
    tasks = [job.request["tasks"][0] for job in workspace.jobs.values()]
    assert [task["new_cluster"]["custom_tags"]["asset"] for task in tasks] == [
        "images.processed_images",
        "images.image_features",
        "recognition.recognised_images",
    ]
    for task in tasks:
        assert task["new_cluster"]["autoscale"] == {"min_workers": 1, "max_workers": 8}
        assert task["new_cluster"]["aws_attributes"]["availability"] == "SPOT_WITH_FALLBACK"
    keys = pl.read_delta(theirs.lake.uri(RAW_IMAGES.name))["headers"].explode().struct.unnest()
    names = keys.filter(pl.col("key") == "key")["value"].unique().to_list()
    secrets = [theirs.keys.open_key(name.decode()).material for name in names]
    secrets += [workspace.token.encode(), theirs.keys.platform_secret()]
    assert len(secrets) > 5
    assert len(travelled) > 6
    assert not [one for one in secrets for part in travelled if one in part]
    assert left_in(workspace) == [], "nothing stays in the volume"


def watch(workspace: Workspace) -> list[bytes]:
    """What a job is given: its request, and what lies in the volume then."""
    seen: list[bytes] = []
    submit = workspace.submit

    def watched(request: dict[str, Any]) -> int:
        seen.append(str(request).encode())
        seen.extend(path.read_bytes() for path in left_in(workspace))
        return submit(request)

    workspace.submit = watched  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize(
    ("fate", "code", "permanent"),
    [
        ("preempted", "CLOUD_FAILURE", False),
        ("timed out", "CANCELED", False),
        ("cluster error", "CLUSTER_ERROR", False),
        ("cancelled", "USER_CANCELED", True),
        ("invalid cluster", "INVALID_CLUSTER_REQUEST", True),
    ],
)
def test_what_became_of_a_job_decides_whether_it_is_tried_again(
    stage: Stage, workspace: Workspace, wheel: Path, fate: str, code: str, permanent: bool
) -> None:
    workspace.fate = fate
    settings = settings_of(stage, workspace, wheel)
    with pytest.raises(
        (ComputeRefused, ComputeUnavailable), match=f"10 rows of images/raw_images ended as {code}"
    ) as caught:
        develop(stage, settings)
    assert is_permanent(caught.value) is permanent
    assert left_in(workspace) == []
    assert not stage.lake.exists(PROCESSED_IMAGES.name), "nothing was committed"


def test_a_workspace_that_throttles_and_falters_is_asked_again_and_an_answer_that_was_lost_makes_one_job(
    stage: Stage, workspace: Workspace, wheel: Path
) -> None:
    workspace.refuse = [("/api/2.2/jobs/runs/submit", 429), ("/api/2.2/jobs/runs/get", 503), ("/api/2.0/fs", 503)]
    workspace.lose_answer = True
    assert len(develop(stage, settings_of(stage, workspace, wheel))) == 10
    assert workspace.refuse == []
    assert len(workspace.jobs) == 1


def test_a_failure_of_the_work_itself_is_said_in_its_own_words(stage: Stage, workspace: Workspace, wheel: Path) -> None:
    settings = settings_of(stage, workspace, wheel)
    (stage.settings.home / "keys").rename(stage.settings.home / "elsewhere")
    with pytest.raises(ComputeUnavailable, match=r"RUN_EXECUTION_ERROR.*key store") as caught:
        develop(stage, settings)
    assert not is_permanent(caught.value)


def test_a_wrong_token_a_missing_wheel_and_missing_settings_are_refused(
    stage: Stage, workspace: Workspace, wheel: Path
) -> None:
    settings = settings_of(stage, workspace, wheel)
    with pytest.raises(ComputeRefused, match="LIBRARY_INSTALLATION_ERROR"):
        develop(stage, settings.model_copy(update={"databricks_wheel": "/Volumes/none.whl"}))
    assert settings.databricks_token is not None
    settings.databricks_token.write_text("another")
    with pytest.raises(ComputeRefused, match="databricks_token") as caught:
        develop(stage, settings)
    assert is_permanent(caught.value)
    assert "another" not in str(caught.value)
    bare = settings.model_copy(update={"databricks_volume": ""})
    with pytest.raises(ComputeRefused, match="databricks_volume is not set"):
        in_a_step(lambda context: far_compute(bare, stage.lake, PROCESSED_IMAGES.name, context))


def test_a_field_that_no_cluster_has_is_refused_before_anything_is_asked(
    stage: Stage, workspace: Workspace, wheel: Path
) -> None:
    own = stage.settings.home / "cluster.json"
    own.write_text('{"node_type_id": "r6i.large", "num_wokers": 3}')
    settings = settings_of(stage, workspace, wheel, databricks_cluster=own)
    with pytest.raises(ComputeRefused, match=r"no num_wokers.*num_workers"):
        develop(stage, settings)
    assert workspace.asked == []
    own.write_text("[]")
    with pytest.raises(ComputeRefused, match="no JSON object"):
        develop(stage, settings)


def test_a_step_that_is_stopped_cancels_its_job(stage: Stage, workspace: Workspace, wheel: Path) -> None:
    settings = settings_of(stage, workspace, wheel)

    told = workspace.told

    def stopped(job: Job) -> dict[str, Any]:
        if job.life == "RUNNING" and not interrupted:
            # What Dagster sends the process of a run that somebody stops.
            interrupted.append(job.id)
            os.kill(os.getpid(), signal.SIGINT)
        return told(job)

    interrupted: list[int] = []
    workspace.told = stopped  # type: ignore[method-assign]
    with pytest.raises((ComputeRefused, DagsterExecutionInterruptedError)):
        develop(stage, settings)
    (job,) = workspace.jobs.values()
    assert (interrupted, job.code) == ([job.id], "USER_CANCELED")
    assert not stage.lake.exists(PROCESSED_IMAGES.name)
