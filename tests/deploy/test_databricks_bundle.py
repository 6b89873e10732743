"""The asset bundle for Databricks, checked with the typed models of databricks-bundles and against the code it serves.

Nothing here has run on Databricks: what these tests show is that every field exists, that policy and code agree, and
that everything which may be reached says who may reach it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.cluster_policies import ClusterPolicy
from databricks.bundles.dashboards import Dashboard
from databricks.bundles.experiments import MlflowExperiment
from databricks.bundles.external_locations import ExternalLocation
from databricks.bundles.jobs import Job
from databricks.bundles.registered_models import RegisteredModel
from databricks.bundles.schemas import Schema
from databricks.bundles.volumes import Volume

from access.databricks_rights import databricks_rights, scim_groups
from access.policy import PolicyError, load_policy, parse_policy
from resources.databricks_compute import CLUSTER
from transforms.families import FAMILIES
from transforms.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "deploy" / "databricks"
MODELS: dict[str, Any] = {
    "cluster_policies": ClusterPolicy,
    "dashboards": Dashboard,
    "experiments": MlflowExperiment,
    "external_locations": ExternalLocation,
    "jobs": Job,
    "registered_models": RegisteredModel,
    "schemas": Schema,
    "volumes": Volume,
}
PEOPLE = load_policy()
# Families of machines that encrypt what crosses between them by themselves.
ENCRYPTING = re.compile(r"^(m6i|c6i|r6i|i4i|m7g)\.")


def bundle() -> dict[str, Any]:
    """The top file."""
    return yaml.safe_load((BUNDLE / "databricks.yml").read_text())


def declared() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Kind, key and fields of every resource."""
    for path in sorted(BUNDLE.glob(bundle()["include"][0])):
        for kind, ones in yaml.safe_load(path.read_text())["resources"].items():
            for key, fields in ones.items():
                yield kind, key, fields


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Resources of one kind by key."""
    return {key: fields for found, key, fields in declared() if found == kind}


@pytest.mark.parametrize(
    ("kind", "key", "fields"), declared(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_field_is_one_that_databricks_knows(kind: str, key: str, fields: dict[str, Any]) -> None:
    made = MODELS[kind].from_dict(fields)
    assert made.as_dict()


def test_a_field_that_nobody_knows_would_be_found() -> None:
    with pytest.raises(ValueError, match="max_concurent_runs"):
        Job.from_dict({"name": "x", "max_concurent_runs": 1})


def test_every_reference_leads_somewhere() -> None:
    texts = [path.read_text() for path in (BUNDLE / "databricks.yml", *sorted((BUNDLE / "resources").glob("*.yml")))]
    named = set(re.findall(r"\$\{var\.(\w+)\}", "".join(texts)))
    assert named == set(bundle()["variables"]), "each variable is used, and each one that is used is there"
    for kind, key in re.findall(r"\$\{resources\.(\w+)\.(\w+)\.\w+\}", "".join(texts)):
        assert key in resources(kind), f"{kind}.{key}"
    for dashboard in resources("dashboards").values():
        assert (BUNDLE / "resources" / dashboard["file_path"]).is_file()


def test_whatever_can_be_reached_says_who_may_reach_it() -> None:
    for kind, key, fields in declared():
        said = fields.get("permissions") or fields.get("grants")
        assert said, f"{kind}.{key} has neither permissions nor grants"
    assert not [
        (key, one)
        for kind, key, fields in declared()
        for one in [*fields.get("permissions", []), *fields.get("grants", [])]
        if one.get("group_name", one.get("principal")) in ("users", "account users")
    ], "nothing is open to everybody"


def test_the_lake_can_only_be_read_from_there() -> None:
    (lake,) = resources("external_locations").values()
    assert lake["read_only"] is True
    assert not any("WRITE_FILES" in grant["privileges"] for grant in lake["grants"])


def test_every_group_of_tables_has_its_schema_and_every_family_its_model() -> None:
    schemas = {fields["name"] for fields in resources("schemas").values()}
    assert {spec.name.partition("/")[0] for spec in TABLES} <= schemas
    assert set(resources("registered_models")) == {family.name for family in FAMILIES}


def policies() -> dict[str, dict[str, Any]]:
    return {key: json.loads(fields["definition"]) for key, fields in resources("cluster_policies").items()}


def allows(rule: dict[str, Any], value: Any) -> bool:
    """Whether a rule of the policy language lets a value be."""
    match rule["type"]:
        case "fixed":
            return value is None or value == rule["value"] or str(rule["value"]).startswith("${var.")
        case "allowlist":
            return value in rule["values"] or (value is None and rule.get("isOptional", False))
        case "regex":
            return value is not None and re.fullmatch(rule["pattern"], value) is not None
        case "range":
            return value is None or rule.get("minValue", value) <= value <= rule.get("maxValue", value)
        case "unlimited":
            return value is not None or rule.get("isOptional", True)
    raise AssertionError(f"an unknown type of rule: {rule}")


def field(cluster: dict[str, Any], path: str) -> Any:
    """The value at a path such as aws_attributes.availability."""
    for name in path.split("."):
        cluster = cluster.get(name) if isinstance(cluster, dict) else None  # type: ignore[assignment]
    return cluster


@pytest.mark.parametrize("key", ["compute", "compute_on_any_node"])
def test_the_policy_lets_the_cluster_that_the_code_asks_for(key: str) -> None:
    cluster = {**CLUSTER, "custom_tags": {"platform": "darkroom", "asset": "images.processed_images"}}
    for path, rule in policies()[key].items():
        assert allows(rule, field(cluster, path)), f"{path}: {field(cluster, path)} is not {rule}"
    assert not allows(policies()[key]["autoscale.max_workers"], 1000)


def test_machines_encrypt_among_themselves_or_spark_does() -> None:
    compute, other = policies()["compute"], policies()["compute_on_any_node"]
    for name in ("node_type_id", "driver_node_type_id"):
        assert all(ENCRYPTING.match(node) for node in compute[name]["values"])
    assert other["init_scripts.0.volumes.destination"]["value"].endswith("/code/encrypt-workers.sh")
    assert other["spark_env_vars.DARKROOM_SPARK_SECRET"]["value"].startswith("{{secrets/")
    for policy in (compute, other):
        assert policy["enable_local_disk_encryption"]["value"] is True


def test_the_init_script_writes_what_spark_needs_and_refuses_to_go_on_without_a_secret(tmp_path: Path) -> None:
    script = BUNDLE / "init" / "encrypt-workers.sh"
    place = {"DB_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert subprocess.run([script], env=place, capture_output=True).returncode != 0
    done = subprocess.run(
        [script], env={**place, "DARKROOM_SPARK_SECRET": "s3cret", "DB_IS_DRIVER": "TRUE"}, check=True
    )
    assert done.returncode == 0
    written = (tmp_path / "spark" / "conf" / "spark-defaults.conf").read_text()
    assert "spark.network.crypto.cipher AES/GCM/NoPadding" in written
    assert "spark.authenticate.secret s3cret" in written
    (driver,) = (tmp_path / "driver" / "conf").iterdir()
    assert '"spark.authenticate.secret" = "s3cret"' in driver.read_text()
    assert driver.stat().st_mode & 0o077 == 0


def test_jobs_run_entry_points_that_the_wheel_has() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for job in resources("jobs").values():
        for task in job["tasks"]:
            assert task["python_wheel_task"]["entry_point"] in scripts
            assert task["new_cluster"]["policy_id"] == "${resources.cluster_policies.compute.id}"


def test_the_dashboard_asks_for_columns_that_are_there() -> None:
    told = json.loads((BUNDLE / "dashboards" / "platform.lvdash.json").read_text())
    tables = {spec.name.replace("/", "."): spec for spec in TABLES}
    for dataset in told["datasets"]:
        query = "".join(dataset["queryLines"])
        (table,) = re.findall(r"FROM (\S+)", query)
        chosen = re.search(r"SELECT (.*?) FROM", query)
        assert chosen is not None
        for name in re.findall(r"[a-z0-9_]+", re.sub(r"count\(\*\) AS \w+", "", chosen.group(1))):
            assert name in tables[table].schema.names, f"{dataset['name']}: {name}"
            assert name not in tables[table].sealed
    assert {page["layout"][0]["widget"]["queries"][0]["query"]["datasetName"] for page in told["pages"]} <= {
        dataset["name"] for dataset in told["datasets"]
    }


def test_people_have_the_rights_that_the_policy_gives_them_and_no_others() -> None:
    """The bundle is written by hand, with its reasons; of people it says what the one policy says."""
    said = {}
    for kind, key, fields in declared():
        entries = [*fields.get("permissions", ()), *fields.get("grants", ())]
        people = [one for one in entries if one.get("group_name", one.get("principal")) in PEOPLE.groups]
        others = [one for one in entries if one not in people]
        named = {one.get("service_principal_name", one.get("principal")) for one in others}
        assert named <= {"${var.submitter}"}, f"{kind}.{key} names {named}, whom the policy does not know"
        if people:
            said[kind, key] = sorted(people, key=str)
    compiled = {where: sorted(entries, key=str) for where, entries in databricks_rights(PEOPLE).items()}
    assert said == compiled


def test_the_groups_that_a_workspace_needs_are_those_with_a_right_there() -> None:
    groups = scim_groups(PEOPLE)
    assert [one["displayName"] for one in groups] == ["analytics", "ml-engineers", "platform-admins"]
    assert {tuple(one["schemas"]) for one in groups} == {("urn:ietf:params:scim:schemas:core:2.0:Group",)}


@pytest.mark.parametrize(
    ("right", "why"),
    [
        ("{kind: schemas, name: a, allow: [CAN_READ]}", "CAN_READ is none of schemas; valid ones: USE_SCHEMA"),
        ("{kind: jobs, name: a, allow: [SELECT]}", "SELECT is none of jobs; valid ones: CAN_VIEW"),
        ("{kind: jobs, name: a, allow: [CAN_VIEW, CAN_MANAGE]}", "jobs have one permission level"),
        ("{kind: tables, name: a, allow: [SELECT]}", "'schemas'"),
    ],
)
def test_a_right_that_its_kind_does_not_have_is_refused(right: str, why: str) -> None:
    with pytest.raises(PolicyError, match=why):
        parse_policy(f"identities: {{}}\ngroups: {{g: {{note: n, databricks: [{right}]}}}}\n")
