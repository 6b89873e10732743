"""The whole demo with its tables on S3 and its images developed by Spark; nothing else of it changes.

Naming images stays here: each training would start a session for it, of a minute or more on two cores. It is held to
the same tables on Spark by `tests/resources/test_compute.py`, and `make demo LAKE=s3 COMPUTE=spark` is run by hand.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from cli.dataset import digits
from resources.lake import open_lake
from stack.state import load_state
from tests.live_stack import LiveStack, own_stack
from tests.platform_assets.dagster_client import DagsterClient
from tests.system.wire import another_authority, handshake, open_ports, said_by_any
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES, RECOGNISED_IMAGES

# Not alone, though it is a second whole stack: it waits most of the time, and the other lane would wait with it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

ON_SPARK = (PROCESSED_IMAGES.name, IMAGE_FEATURES.name)
COMPUTED_ON = """
query ComputedOn($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) {
    ... on Asset { assetMaterializations(limit: 1) {
      metadataEntries { label ... on TextMetadataEntry { text } ... on FloatMetadataEntry { floatValue } }
    } }
  }
}
"""


@pytest.fixture(scope="module")
def on_s3() -> Iterator[LiveStack]:
    """A stack with its lake on S3 and Spark as the backend of ON_SPARK, as `make demo LAKE=s3` starts it."""
    with own_stack("--lake", "s3", DARKROOM_COMPUTE_ASSETS=json.dumps(dict.fromkeys(ON_SPARK, "spark"))) as stack:
        yield stack


def computed_on(stack: LiveStack, name: str) -> dict[str, str | float]:
    """What the last run of an asset says of its backend."""
    answer = DagsterClient(stack.home).ask(COMPUTED_ON, key={"path": name.split("/")})
    (last,) = answer["assetMaterializations"]
    return {one["label"]: one.get("text", one.get("floatValue")) for one in last["metadataEntries"]}


def test_the_demo_passes_on_s3_with_spark_and_its_tables_are_there(on_s3: LiveStack) -> None:
    said = on_s3.run("demo", timeout=900).stdout
    assert "held-out" in said
    lake = open_lake(on_s3.settings())
    assert lake.root.startswith("s3://")
    assert not list((on_s3.home / "lake").rglob("*.parquet")), "nothing lies in a folder"
    scans = {one.name: pl.scan_delta(lake.open(one.name)) for one in (RAW_IMAGES, PROCESSED_IMAGES, RECOGNISED_IMAGES)}
    counts = {name: scan.select(pl.len()).collect().item() for name, scan in scans.items()}
    assert counts[RAW_IMAGES.name] > counts[PROCESSED_IMAGES.name] > len(digits())
    for name in ON_SPARK:
        assert computed_on(on_s3, name)["computed on"] == "spark", name


def test_the_lake_s_commands_work_on_it(on_s3: LiveStack) -> None:
    assert "does what the lake rests on" in on_s3.run("lake", "check").stdout
    shown = on_s3.run("lake", "tables").stdout
    assert {RAW_IMAGES.name, "shop/dim_item"} <= set(shown.split())
    assert "rows in" in on_s3.run("lake", "at", PROCESSED_IMAGES.name, "--version", "2").stdout
    assert "It holds" in on_s3.run("lake", "optimize", PROCESSED_IMAGES.name).stdout
    refused = on_s3.run("lake", "at", "images/none", "--version", "2", check=False)
    assert refused.returncode == 1
    assert "Valid ones: images/raw_images" in refused.stderr


def test_the_s3_servers_port_says_nothing_in_the_clear_and_is_no_other_authoritys(
    on_s3: LiveStack, tmp_path: Path
) -> None:
    port = load_state(on_s3.home).ports["s3"]
    assert open_ports(on_s3.home)[port][1] == "127.0.0.1"
    assert said_by_any(on_s3.home) == {}
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(port, ssl.create_default_context(cafile=str(another_authority(tmp_path)[0])), "s3")
