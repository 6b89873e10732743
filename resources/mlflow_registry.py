"""The registry in MLflow.

Why a wrapper: MLflow's client retries for minutes, says "away" and "not there" with one exception, and takes seconds to
import; here both are types (`resources.registry`), waiting is short, and the import is paid by whoever asks. A model is
registered in one order (run, files, version, alias `challenger` last), so that a process killed in between leaves a
version that nobody points to, and never half a champion: an alias moves in one transaction of MLflow's.

A file is believed only with the SHA-256 that was noted when it was registered. Limits: MLflow's server knows no users,
so that an identity which may reach it may move an alias too, and only moves made here are noted.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from resources.failures import first_line
from resources.mlflow_errors import is_missing, named
from resources.mlflow_files import save_model
from resources.registry import (
    CHALLENGER,
    MOVED,
    Learned,
    ModelBroken,
    ModelMissing,
    Version,
)
from resources.settings import Settings

MODEL_FILE = "model/model.onnx"
SHA256 = "darkroom.sha256"

# MLflow's own default is seven retries, some four minutes; a run that waits so long holds its tables.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class ModelRegistry:
    """MLflow at one address. Every method raises RegistryAway; nothing is asked at construction.

    Args:
        url: where runs are kept.
        registry_url: where models are registered, if not there.
        schema: what stands before the names of models in the registry, as CATALOG.SCHEMA of Unity Catalog.
        experiment: whose runs they are.
        ca: PEM of the authority that its server is known by; the system's own unless given.
        client: PEM of the certificate that it is shown, and its key.
    """

    def __init__(
        self,
        url: str,
        *,
        registry_url: str = "",
        schema: str = "",
        experiment: str = "recognition",
        ca: Path | None = None,
        client: Path | None = None,
    ) -> None:
        self.url = url
        self._registry_url = registry_url or url
        self._prefix = f"{schema}." if schema else ""
        self._experiment_name = experiment
        # Its client knows no other way than the environment to be told whom to trust.
        self._tls = {"MLFLOW_TRACKING_SERVER_CERT_PATH": ca, "MLFLOW_TRACKING_CLIENT_CERT_PATH": client}
        self._made: Any = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            for name, value in (_PATIENCE | _QUIET).items():
                os.environ.setdefault(name, value)
            os.environ.update({name: str(path) for name, path in self._tls.items() if path is not None})
            # Its HTTP client would take a loopback address to a company's proxy. It reads the name in small letters
            # before the other, where that says something.
            for name in [one for one in ("no_proxy", "NO_PROXY") if os.environ.get(one)] or ["NO_PROXY"]:
                direct = [one for one in os.environ.get(name, "").split(",") if one]
                os.environ[name] = ",".join(dict.fromkeys([*direct, "127.0.0.1", "localhost"]))
            from mlflow import MlflowClient

            self._made = MlflowClient(tracking_uri=self.url, registry_uri=self._registry_url)
        return self._made

    def register(self, learned: Learned) -> Version:
        """Log a run with its files, then register it as a new version, alias `challenger` last."""
        with self._named(f"register a model as {learned.model}"):
            run_id = self._log(learned)
            if self._model(learned.model) is None:
                self._create(learned.model)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{MODEL_FILE.rsplit('/', 1)[0]}"
            tags = {**learned.tags, SHA256: hashlib.sha256(learned.onnx).hexdigest()}
            made = self._client.create_model_version(
                self._prefix + learned.model,
                source,
                run_id=run_id,
                tags=tags,
                description=learned.description,
                await_creation_for=None,
            )
            self._client.set_registered_model_alias(self._prefix + learned.model, CHALLENGER, made.version)
        return self.version(learned.model, str(made.version))

    def at(self, model: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is no such model or alias."""
        with self._named(f"ask which version is {alias} of {model}"):
            found = self._model(model)
        number = None if found is None else found.aliases.get(alias)
        return None if number is None else self.version(model, str(number))

    def version(self, model: str, version: str) -> Version:
        """One version.

        Raises:
            ModelMissing: there is none; lists those there are.
        """
        for one in self.versions(model):
            if one.version == version:
                return one
        valid = ", ".join(one.version for one in self.versions(model)) or "none: train first"
        raise ModelMissing(
            f"MLflow at {self.url} has no version {version} of {model}. Valid ones: {valid}.",
            {"model": model, "version": version},
        )

    def versions(self, model: str) -> list[Version]:
        """All versions, newest first; none where there is no such model."""
        with self._named(f"list the versions of {model}"):
            registered = self._model(model)
            if registered is None:
                return []
            found = list(self._pages(f"name='{self._prefix}{model}'"))
        aliases: dict[str, list[str]] = {}
        for alias, number in registered.aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        made = [
            Version(
                model,
                str(one.version),
                one.run_id,
                datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
                tuple(sorted(aliases.get(str(one.version), ()))),
                dict(one.tags),
            )
            for one in found
        ]
        return sorted(made, key=lambda one: int(one.version), reverse=True)

    def move(self, to: Version, alias: str, *, who: str, why: str) -> Version:
        """Point an alias to a version, and note at that version who did it, when and why, before it moves."""
        before = self.at(to.model, alias)
        when = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        told = {"when": when, "who": who, "why": why, "alias": alias, "before": before.version if before else ""}
        with self._named(f"make version {to.version} of {to.model} {alias}"):
            name = self._prefix + to.model
            self._client.set_model_version_tag(name, to.version, f"{MOVED}{when}", json.dumps(told))
            self._client.set_registered_model_alias(name, alias, to.version)
        return self.version(to.model, to.version)

    def load(self, version: Version) -> bytes:
        """The ONNX file of a version.

        Raises:
            ModelMissing: its files are gone.
            ModelBroken: it is not the file that was registered.
        """
        named = f"version {version.version} of {version.model}"
        with self._named(f"load {named}"), TemporaryDirectory(prefix="darkroom-model-") as folder:
            try:
                path = Path(self._client.download_artifacts(version.run_id, MODEL_FILE, folder))
                content = path.read_bytes()
            except Exception as error:
                if not is_missing(error):
                    raise
                raise ModelMissing(
                    f"MLflow at {self.url} has {named}, and its file {MODEL_FILE} is gone: {first_line(error)} "
                    "Train anew, or `darkroom models rollback` to a version whose file is there.",
                    {"model": version.model, "version": version.version},
                ) from error
        if hashlib.sha256(content).hexdigest() != version.tags.get(SHA256):
            raise ModelBroken(
                f"The file of {named} is not the one that was registered (SHA-256 differs); it scores nothing. Train "
                "anew, or `darkroom models rollback` to another version.",
                {"model": version.model, "version": version.version},
            )
        return content

    def _log(self, learned: Learned) -> str:
        """A run with everything in it; finished, or failed where this raises."""
        client = self._client
        run = client.create_run(self._experiment(), run_name=learned.model, tags=dict(learned.tags))
        run_id, ended = run.info.run_id, "FAILED"
        try:
            for name, value in learned.parameters.items():
                client.log_param(run_id, name, value)
            for name, value in learned.metrics.items():
                client.log_metric(run_id, name, value)
            with TemporaryDirectory(prefix="darkroom-model-") as folder:
                for name, content in learned.pictures.items():
                    Path(folder, name).write_bytes(content)
                for name, text in learned.texts.items():
                    Path(folder, name).write_text(text)
                save_model(learned.onnx, Path(folder, "model"))
                client.log_artifacts(run_id, folder)
            ended = "FINISHED"
        finally:
            client.set_terminated(run_id, ended)
        return run_id

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return found.experiment_id
        try:
            return self._client.create_experiment(self._experiment_name)
        except MlflowException:
            found = self._client.get_experiment_by_name(self._experiment_name)
            if found is None:  # else another run made it meanwhile
                raise
            return found.experiment_id

    def _model(self, model: str) -> Any:
        try:
            return self._client.get_registered_model(self._prefix + model)
        except Exception as error:
            if is_missing(error):
                return None
            raise

    def _create(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(self._prefix + model)
        except MlflowException:
            if self._model(model) is None:  # else another run made it meanwhile
                raise

    def _pages(self, query: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_model_versions(query, max_results=200, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _named(self, what: str) -> AbstractContextManager[None]:
        """Give MLflow's errors our names inside a block; see `resources.mlflow_errors.named`."""
        return named(self.url, what)


def open_registry(settings: Settings) -> ModelRegistry:
    """The registry of these settings."""
    return ModelRegistry(
        settings.mlflow_url,
        registry_url=settings.mlflow_registry_url,
        schema=settings.mlflow_schema,
        experiment=settings.mlflow_experiment,
        ca=settings.mlflow_ca,
        client=settings.mlflow_client,
    )
