"""A stack with its tables on S3 that develops by Spark: what a person sends is there, and the lake's commands work.

The whole demo so, `make demo LAKE=s3 COMPUTE=spark`, is run by hand: it takes six minutes on two cores by themselves.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from cli.settle import wait_until_settled
from resources.lake import open_lake
from stack.state import load_state
from tests.live_stack import LiveStack, own_stack
from tests.platform_assets.dagster_client import DagsterClient
from tests.system.history import png
from tests.system.wire import another_authority, handshake, open_ports, said_by_any
from transforms.tables import IMAGE_FEATURES, PROCESSED_IMAGES, RAW_IMAGES

# Not alone, though it is a second whole stack: it waits most of the time, and the other lane would wait with it.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

IMAGES = 40
SETTLE_SECONDS = 600.0
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
    """A stack with its lake on S3, as `darkroom up --lake s3` starts it, and Spark as the backend of ON_SPARK."""
    with own_stack("--lake", "s3", DARKROOM_COMPUTE_ASSETS=json.dumps(dict.fromkeys(ON_SPARK, "spark"))) as stack:
        yield stack


def computed_on(stack: LiveStack, name: str) -> dict[str, str | float]:
    """What the last run of an asset says of its backend."""
    answer = DagsterClient(stack.home).ask(COMPUTED_ON, key={"path": name.split("/")})
    (last,) = answer["assetMaterializations"]
    return {one["label"]: one.get("text", one.get("floatValue")) for one in last["metadataEntries"]}


def test_what_is_sent_is_developed_by_spark_with_its_tables_on_s3(on_s3: LiveStack, tmp_path: Path) -> None:
    for seed in range(IMAGES):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    on_s3.run("send", str(tmp_path), timeout=300)
    settled = wait_until_settled(on_s3.settings("operator"), on_s3.dagster(), SETTLE_SECONDS)
    assert settled.developed > 0
    lake = open_lake(on_s3.settings())
    assert lake.root.startswith("s3://")
    assert not list((on_s3.home / "lake").rglob("*.parquet")), "nothing lies in a folder"
    for spec in (RAW_IMAGES, PROCESSED_IMAGES, IMAGE_FEATURES):
        assert pl.scan_delta(lake.open(spec.name)).select(pl.len()).collect().item() == IMAGES, spec.name
    for name in ON_SPARK:
        assert computed_on(on_s3, name)["computed on"] == "spark", name


def test_the_lake_s_commands_work_on_it(on_s3: LiveStack) -> None:
    assert "does what the lake rests on" in on_s3.run("lake", "check").stdout
    shown = on_s3.run("lake", "tables").stdout
    assert {RAW_IMAGES.name, *ON_SPARK} <= set(shown.split())
    assert "rows in" in on_s3.run("lake", "at", PROCESSED_IMAGES.name, "--version", "1").stdout
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
