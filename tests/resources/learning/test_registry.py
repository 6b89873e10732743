"""The registry's promises, kept by MLflow on the running stack and by the stand-in that other tests use."""

from __future__ import annotations

import os
import shutil
import ssl
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from resources.failures import is_permanent
from resources.mlflow_registry import ModelRegistry, open_registry
from resources.registry import (
    CHALLENGER,
    CHAMPION,
    Learned,
    ModelBroken,
    ModelMissing,
    Registry,
    RegistryAway,
    RegistryRefused,
)
from stack.state import load_state
from tests.resources.learning.registry_in_memory import RegistryInMemory
from transforms.families import DIGITS
from transforms.features import COUNT, RECIPE
from transforms.onnx_models import export
from transforms.recognition import train


@pytest.fixture(scope="module")
def model() -> bytes:
    rows = np.random.default_rng(0).random((30, COUNT))
    return export(train(DIGITS, rows, [str(number % 3) for number in range(30)]), RECIPE, COUNT)


Breaker = Callable[[str, bytes | None], None]


@pytest.fixture(
    params=[
        "in memory",
        pytest.param("mlflow", marks=pytest.mark.stack),
        pytest.param("mlflow, names in a schema", marks=pytest.mark.stack),
    ]
)
def registry(request: pytest.FixtureRequest) -> tuple[Registry, Breaker]:
    """A registry, and a way to change (or with None to remove) the file of a run."""
    if request.param == "in memory":
        made = RegistryInMemory()

        def break_memory(run_id: str, content: bytes | None) -> None:
            (name,) = [
                f"{one.model}/{one.version}" for all in made.made.values() for one in all if one.run_id == run_id
            ]
            made.files.pop(name)
            if content is not None:
                made.files[name] = content

        return made, break_memory
    stack = request.getfixturevalue("stack")

    def break_file(run_id: str, content: bytes | None) -> None:
        (path,) = Path(stack.home, "mlflow").rglob(f"{run_id}/artifacts/model/model.onnx")
        path.unlink() if content is None else path.write_bytes(content)

    # As on Databricks, where names have three parts.
    named = {"schema": "darkroom.recognition", "experiment": "/Shared/darkroom/recognition"}
    settings = stack.settings()
    tls = {"ca": settings.mlflow_ca, "client": settings.mlflow_client}
    return ModelRegistry(settings.mlflow_url, **tls, **(named if "schema" in request.param else {})), break_file


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


def learned(name: str, model: bytes) -> Learned:
    return Learned(
        name, model, {"a": "1"}, {"m": 0.5}, {"darkroom.x": "y"}, {"p.png": b"\x89PNG"}, {"card.md": "# c"}, "said"
    )


def test_a_model_is_registered_as_challenger_and_its_file_comes_back(registry, name: str, model: bytes) -> None:
    there, _ = registry
    first = there.register(learned(name, model))
    second = there.register(learned(name, model))
    assert (first.version, second.version, second.aliases) == ("1", "2", (CHALLENGER,))
    assert [(one.version, one.aliases) for one in there.versions(name)] == [("2", (CHALLENGER,)), ("1", ())]
    assert second.tags["darkroom.x"] == "y"
    assert there.load(second) == model
    assert there.at(name, CHALLENGER) == second


def test_an_alias_moves_and_each_move_is_kept_with_who_and_why(registry, name: str, model: bytes) -> None:
    there, _ = registry
    first, second = (there.register(learned(name, model)) for _ in range(2))
    assert there.at(name, CHAMPION) is None
    there.move(first, CHAMPION, who="run 1", why="the first")
    there.move(second, CHAMPION, who="run 2", why="better")
    back = there.move(first, CHAMPION, who="ada", why="it names sevens wrong")
    assert there.at(name, CHAMPION).version == first.version
    assert [(move["who"], move["why"], move["before"]) for move in back.moves] == [
        ("run 1", "the first", ""),
        ("ada", "it names sevens wrong", "2"),
    ]


def test_what_is_not_there_is_no_error_or_a_named_one(registry, name: str, model: bytes) -> None:
    """An emptied registry has no champion: a state, and never a crash."""
    there, _ = registry
    assert (there.at(name, CHAMPION), there.versions(name)) == (None, [])
    with pytest.raises(ModelMissing, match="none: train first"):
        there.version(name, "1")
    there.register(learned(name, model))
    with pytest.raises(ModelMissing, match="Valid ones: 1"):
        there.version(name, "7")


def test_a_file_that_is_gone_or_another_is_named_and_never_scores(registry, name: str, model: bytes) -> None:
    there, change = registry
    made = there.register(learned(name, model))
    change(made.run_id, model[:-1])
    with pytest.raises(ModelBroken) as broken:
        there.load(made)
    assert is_permanent(broken.value)
    change(made.run_id, None)
    with pytest.raises(ModelMissing):
        there.load(made)


def test_mlflow_that_is_away_is_a_transient_failure_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryAway, match=r"127\.0\.0\.1:1 did not do it") as away:
        ModelRegistry("http://127.0.0.1:1").at("any", CHAMPION)
    assert not is_permanent(away.value)


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_loopback_address_is_never_asked_for_at_a_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client reads the name in small letters first, and only the other was extended."""
    for other in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "intranet.test")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryAway) as away:
        ModelRegistry("http://127.0.0.1:1").at("any", CHAMPION)
    assert "proxy" not in str(away.value).lower()
    assert os.environ[name] == "intranet.test,127.0.0.1,localhost"


class Experiments:
    """In the place of MLflow's client, which makes no experiment: another run makes it first, or it is refused."""

    def __init__(self, first: str | None, refusal: str) -> None:
        self._first, self._refusal = first, refusal
        self.asked = 0

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self.asked += 1
        return SimpleNamespace(experiment_id=self._first) if self.asked > 1 and self._first is not None else None

    def create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import ErrorCode

        raise MlflowException("the experiment was not made", ErrorCode.Value(self._refusal))

    def create_run(self, experiment: str, **given: object) -> None:
        from mlflow.exceptions import MlflowException

        raise MlflowException(f"no run in experiment {experiment}")


def test_an_experiment_that_another_run_makes_first_is_taken(
    name: str, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.MlflowClient", lambda **given: Experiments("7", "RESOURCE_ALREADY_EXISTS"))
    with pytest.raises(RegistryAway, match="no run in experiment 7"):
        ModelRegistry("http://127.0.0.1:1").register(learned(name, model))


def test_an_experiment_that_is_refused_is_said_to_be(name: str, model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was looked for again, and where there was still none, the refusal was lost in an AttributeError."""
    monkeypatch.setattr("mlflow.MlflowClient", lambda **given: Experiments(None, "PERMISSION_DENIED"))
    with pytest.raises(RegistryRefused, match="the experiment was not made"):
        ModelRegistry("http://127.0.0.1:1").register(learned(name, model))


@pytest.mark.stack
def test_what_mlflow_refuses_is_permanent(stack, name: str, model: bytes) -> None:
    with pytest.raises(RegistryRefused, match="may only contain") as refused:
        open_registry(stack.settings()).register(replace(learned(name, model), tags={"a+b": "c"}))
    assert is_permanent(refused.value)


@pytest.mark.stack
def test_mlflow_itself_loads_what_was_registered_and_shows_card_and_picture(stack, name: str, model: bytes) -> None:
    """Nothing here is needed to use a model: MLflow's own tools read it."""
    import mlflow

    url = stack.settings().mlflow_url
    made = open_registry(stack.settings()).register(learned(name, model))
    client = mlflow.MlflowClient(tracking_uri=url, registry_uri=url)
    assert {one.path for one in client.list_artifacts(made.run_id)} == {"model", "p.png", "card.md"}
    run = client.get_run(made.run_id)
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"a": "1"}, {"m": 0.5})
    mlflow.set_tracking_uri(url)
    info = mlflow.models.get_model_info(f"{run.info.artifact_uri}/model")
    assert info.signature is not None
    assert [one.shape[0] for one in info.signature.inputs.inputs] == [-1]
    scored = mlflow.pyfunc.load_model(f"models:/{name}/1").predict(np.zeros((2, COUNT)))
    assert len(scored["label"]) == 2


@pytest.mark.stack
def test_mlflow_lets_identities_of_the_platform_in_alone_and_keeps_its_own_database(stack) -> None:
    settings = stack.settings()
    asked = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    trust = ssl.create_default_context(cafile=str(settings.mlflow_ca))
    with pytest.raises(httpx.TransportError):
        httpx.get(asked, verify=trust, trust_env=False)
    with pytest.raises(httpx.TransportError):
        httpx.get(asked, verify=stack.as_gateway(), trust_env=False)
    with pytest.raises(httpx.TransportError):
        httpx.get(asked.replace("https", "http"), trust_env=False)
    trust.load_cert_chain(settings.mlflow_client)
    assert httpx.get(asked, verify=trust, trust_env=False).status_code == 200
    path = load_state(stack.home).run / "mlflow.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://mlflow") as client:
        assert client.get("/mlflow/health").status_code == 200
        assert client.get("/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0").status_code == 401
        assert client.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status_code == 401
        headers = {"Authorization": f"Bearer {stack.token()}", "Origin": "https://evil.test"}
        assert client.post("/mlflow/api/2.0/mlflow/experiments/create", json={}, headers=headers).status_code == 403
    import psycopg

    from stack.paths import Layout
    from stack.state import postgres_dsn

    state = load_state(stack.home)
    own = postgres_dsn(Layout(stack.home), state.ports["postgres"], "mlflow", "mlflow")
    with psycopg.connect(own) as connection:
        assert connection.execute("SELECT count(*) >= 1 FROM experiments").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(postgres_dsn(Layout(stack.home), state.ports["postgres"], "mlflow"))


@pytest.fixture(autouse=True)
def _no_folder_of_mlflows_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MLflow may write a folder where it is used; nothing may be left in the checkout."""
    monkeypatch.chdir(tmp_path)
    yield
    shutil.rmtree(tmp_path / "mlruns", ignore_errors=True)
