"""The code location as a whole: it loads in a fresh interpreter, quickly, touches nothing, and says enough."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import dagster as dg
import jsonschema
import pydantic
import pytest
import yaml
from dagster_cloud_cli.config.models import DagsterCloudYaml

from platform_assets.definitions import defs
from resources.job_names import LIVE_JOB
from resources.pools import every_pool
from transforms.families import FAMILIES
from transforms.tables import LABEL_CORRECTIONS, TABLES

ROOT = Path(__file__).parent.parent
GRAPH = defs.resolve_asset_graph()
SPECS = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
KEYS = sorted(SPECS, key=lambda key: key.to_user_string())

# In a fresh interpreter: what loading may not do raises, then the definitions are loaded. A library that does
# such a thing while it is imported is not ours to forbid; a call of ours into one is.
LOAD = """
import json, os, sys, time
import dagster
root = sys.argv[1]
sys.path.insert(0, root)
rooms = tuple(os.path.join(root, room) + os.sep for room in
    ("transforms", "access", "resources", "platform_assets", "sensors", "services", "stack", "cli"))

# Imports of libraries; and the switches that pydantic and dagster look up whenever a class or a record is made.
ALLOWED = ("importlib", "/pydantic/plugin/", "/dagster_shared/record/")

def refuse(what):
    frame = sys._getframe(2)
    while frame is not None and not any(part in frame.f_code.co_filename for part in ALLOWED):
        if frame.f_code.co_filename.startswith(rooms):
            raise AssertionError(f"{what} while loading, by {frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back

def guard(event, arguments):
    if event in ("open", "socket.connect", "socket.__new__", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"):
        if not (event == "open" and str(arguments[0]).endswith((".py", ".pyc"))):
            refuse(event)

def watched(name, real):
    def call(*arguments, **named):
        refuse(name)
        return real(*arguments, **named)
    return call

for module, name in ((time, "time"), (time, "monotonic"), (os, "getenv")):
    setattr(module, name, watched(f"{module.__name__}.{name}", getattr(module, name)))
for name in ("get", "__getitem__", "__contains__"):
    setattr(type(os.environ), name, watched(f"os.environ.{name}", getattr(type(os.environ), name, None)
        or getattr(os.environ, name)))
sys.addaudithook(guard)
from platform_assets.definitions import defs
print(json.dumps({
    "assets": len(defs.resolve_all_asset_specs()),
    "heavy": sorted({"mlflow", "dagster_aws", "pyspark", "deltalake", "polars", "confluent_kafka", "sklearn",
                     "cv2", "PIL", "onnx", "onnxruntime", "skl2onnx",
                     "pandas", "psycopg", "alembic", "fastapi"} & set(sys.modules)),
}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a fresh interpreter, in an empty folder and with no settings, says of the definitions."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DARKROOM_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, str(ROOT)],
        cwd=tmp_path_factory.mktemp("empty"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_definitions_load_in_a_fresh_interpreter_and_touch_nothing(loaded: dict):
    assert loaded["assets"] == len(SPECS)


def test_loading_imports_no_heavy_library(loaded: dict):
    assert loaded["heavy"] == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("os.environ.get('HOME')", "os.environ.get"),
        ("os.environ['HOME']", "os.environ.__getitem__"),
        ("time.time()", "time.time"),
        ("open('/proc/uptime').read()", "open"),
        ("pathlib.Path('/proc/uptime').read_text()", "open"),
        ("socket.create_connection(('127.0.0.1', 9))", "socket.__new__"),
    ],
)
def test_the_guard_sees_a_module_that_touches_something(tmp_path: Path, line: str, what: str):
    """The tests above can fail."""
    room = tmp_path / "resources"
    room.mkdir()
    (room / "__init__.py").write_text(f"import os, pathlib, socket, time\n{line}\n")
    script = LOAD.replace("from platform_assets.definitions import defs", "import resources")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert f"{what} while loading, by {room}" in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.to_user_string())
def test_every_asset_has_owner_kind_group_and_a_sentence(key: dg.AssetKey):
    spec = SPECS[key]
    assert list(spec.owners) == ["team:platform"]
    assert spec.kinds
    assert spec.group_name == key.path[0]
    assert (spec.description or "").endswith(".")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_shows_its_columns_and_which_are_sealed(table):
    spec = SPECS[dg.AssetKey(table.name.split("/"))]
    assert spec.kinds == {"delta"}
    columns = {column.name: column for column in spec.metadata["dagster/column_schema"].columns}
    assert list(columns) == table.schema.names
    assert all(column.description for column in columns.values())
    assert {name for name, column in columns.items() if "sealed" in column.tags} == set(table.sealed)
    for field in table.schema:
        assert columns[field.name].constraints.nullable == field.nullable


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_a_pool_a_freshness_policy_and_a_schema_check(table):
    key = dg.AssetKey(table.name.split("/"))
    assert GRAPH.get(key).freshness_policy is not None
    assert GRAPH.get(key).pools
    assert "schema_as_specified" in {check.name for check in GRAPH.asset_check_keys if check.asset_key == key}


def test_whoever_writes_a_table_holds_its_pool():
    """Bug prevented: compaction of quarantine beside developing, for each held another pool."""
    jobs = ("live_images", "replay_quarantine", "upkeep_tables", "train_digit_classifier", "train_dominant_colour")
    jobs += ("refresh_shop", "redevelop_days")
    writers = {op.name: op.pool for job in jobs for op in _ops(job)}
    silver = {writers["developed_images"], writers["replay_quarantined_records"]}
    assert writers["redevelop_one_day"] == writers["developed_images"]
    assert writers["remeasure_one_day"] == writers["image_features"]
    assert {writers["upkeep_processed_images"], writers["upkeep_quarantined_images"]} == silver
    for table in TABLES:
        name = table.name.split("/")[-1]
        if name not in ("processed_images", "quarantined_images"):
            assert writers[f"upkeep_{name}"] == writers[name] == table.name
    for family in FAMILIES:
        assert writers[family.name] == writers[f"{family.name}_champion"] == f"recognition/{family.name}"


def test_every_pool_is_made_before_the_first_run():
    """Bug prevented: two first runs at once make the same pool, and Dagster fails one of them."""
    jobs = [job for job in defs.get_repository_def().job_names if not job.startswith("__")]
    assert {op.pool for job in jobs for op in _ops(job) if op.pool is not None} == every_pool()


def _ops(job: str) -> list[dg.OpDefinition]:
    return [
        node.definition
        for node in defs.resolve_job_def(job).graph.nodes
        if isinstance(node.definition, dg.OpDefinition)
    ]


def test_a_failed_comparison_with_the_broker_stops_developing():
    job = defs.resolve_job_def(LIVE_JOB)
    spec = job.asset_layer.get(dg.AssetCheckKey(dg.AssetKey(["images", "raw_images"]), "holds_what_the_broker_held"))
    assert spec.blocking
    upstream = {node.name for node in job.graph.node_dict.values()}
    assert {"raw_images", "bronze_checks", "developed_images"} <= upstream
    inputs = job.dependencies
    developed = next(deps for node, deps in inputs.items() if node.name == "developed_images")
    sources = {edge.node for found in developed.values() for edge in found.get_node_dependencies()}
    assert "bronze_checks" in sources


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_challenger_that_is_no_better_stops_the_alias_from_moving(family):
    job = defs.resolve_job_def(f"train_{family.name}")
    key = dg.AssetCheckKey(dg.AssetKey(["recognition", family.name]), "better_than_champion")
    assert job.asset_layer.get(key).blocking
    promoted = next(deps for node, deps in job.dependencies.items() if node.name == f"{family.name}_champion")
    sources = {edge.node for found in promoted.values() for edge in found.get_node_dependencies()}
    assert f"recognition__{family.name}_better_than_champion" in sources


def test_the_live_job_takes_the_images_all_the_way():
    job = defs.resolve_job_def(LIVE_JOB)
    images = [table for table in TABLES if table.name.startswith("images/") and table is not LABEL_CORRECTIONS]
    assert job.asset_layer.selected_asset_keys == {dg.AssetKey(table.name.split("/")) for table in images}
    assert job.executor_def is dg.in_process_executor


def test_sensors_and_schedule_are_on_by_default_and_name_jobs_that_exist():
    repository = defs.get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "kafka_offsets",
        "digit_classifier_labels_grown",
        "dominant_colour_first_model",
        "images_to_name",
        "messages_waiting",
        "shop_changes",
        "run_failures",
    }
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in repository.sensor_defs)
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "hourly_upkeep",
        "digit_classifier_nightly",
        "dominant_colour_nightly",
        "hourly_access",
        "hourly_purge",
        "hourly_shop",
    }
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in repository.schedule_defs)
    jobs = set(repository.job_names)
    assert {sensor.job_name for sensor in repository.sensor_defs if sensor.has_jobs} <= jobs
    assert {schedule.job_name for schedule in repository.schedule_defs} <= jobs


def valid_for_dagster_plus(document: object) -> None:
    """By the JSON schema of Dagster+'s own command, and by its rules that no schema can say."""
    jsonschema.validate(document, DagsterCloudYaml.model_json_schema())
    DagsterCloudYaml.model_validate(document)


def test_dagster_cloud_yaml_is_as_dagster_plus_wants_it():
    document = yaml.safe_load((ROOT / "dagster_cloud.yaml").read_text())
    valid_for_dagster_plus(document)
    (location,) = document["locations"]
    assert location["code_source"] == {"module_name": "platform_assets.definitions"}
    assert (ROOT / location["build"]["directory"] / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    "document",
    [
        {"locations": [{"location_name": "a", "code_sauce": {"module_name": "b"}}]},
        {"locations": [{"location_name": "a", "code_source": {"module_name": "b", "python_file": "c.py"}}]},
        {"locations": [{"code_source": {"module_name": "b"}}]},
    ],
    ids=["a misspelt field", "two sources", "no name"],
)
def test_a_wrong_dagster_cloud_yaml_is_refused(document: object):
    with pytest.raises((jsonschema.ValidationError, pydantic.ValidationError)):
        valid_for_dagster_plus(document)


def test_workspace_yaml_names_the_same_module():
    (entry,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert entry["python_module"]["module_name"] == "platform_assets.definitions"


def test_dg_check_defs_passes(tmp_path: Path):
    dg_command = Path(sys.executable).parent / "dg"
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), "DG_CLI_CONFIG": str(tmp_path / "dg.toml")}
    done = subprocess.run(
        [dg_command, "check", "defs"], cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, textwrap.indent(done.stdout + done.stderr, "  ")
    assert "All definitions loaded successfully" in done.stdout + done.stderr


OPENERS = {"keys", "learning_keys", "compute", "learning_compute", "retention"}
"""Resources that act as identities which may open keys or destroy them."""
MAY_OPEN = {
    "images/processed_images",
    "images/quarantined_images",
    "images/image_features",
    "images/daily_uploads",
    "recognition/training_set",
    "recognition/label_trust",
    "recognition/recognised_images",
    "recognition/recognition_quality",
    *(f"recognition/{family.name}" for family in FAMILIES),
    *(f"recognition/{family.name}/champion" for family in FAMILIES),
    "upkeep/retention",
}
"""Assets that are computed from what is sealed, or that destroy its keys; daily_uploads asks which days are dark."""


def test_landing_sensors_and_schedules_have_no_resource_that_opens() -> None:
    repository = defs.get_repository_def()
    asking = {one.name: one.required_resource_keys for one in repository.sensor_defs}
    asking |= {one.name: one.required_resource_keys for one in repository.schedule_defs}
    assert {name for name, needs in asking.items() if OPENERS & set(needs)} == set()
    assert any("lake" in needs for needs in asking.values()), "the names of resources are looked at"
    opening = {
        key.to_user_string()
        for one in {
            id(node.assets_def): node.assets_def for node in GRAPH.asset_nodes if node.is_materializable
        }.values()
        if OPENERS & set(one.required_resource_keys)
        for key in one.keys
    }
    assert opening == MAY_OPEN
