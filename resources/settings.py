"""Every setting of Darkroom, read in one place.

Values come from, first to last: arguments, the environment (`DARKROOM_<NAME>`), one TOML file
(`DARKROOM_CONFIG`, else `darkroom.toml` in `DARKROOM_HOME`), the defaults below. Nothing is read at import;
`load_settings()` reads, and every process calls it once. A secret is never a setting: a setting names the file
that holds it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from resources.settings_compute import ComputeSettings
from resources.settings_identities import Acting, IdentitySettings
from resources.settings_keeping import KeepingSettings
from resources.settings_people import PeopleSettings

MEBIBYTE = 1024 * 1024


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be; the message lists what would be valid."""


class Settings(BaseSettings, PeopleSettings, ComputeSettings, KeepingSettings, IdentitySettings):
    """The settings of one Darkroom process. Each description says what a wrong value does."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", extra="forbid", frozen=True, env_ignore_empty=True)

    home: Path = Field(
        default=Path(".darkroom"),
        description="Folder of this stack's state, data and logs. Another folder is another, empty stack.",
    )
    lake: str = Field(
        default="",
        description="Root of the Delta tables: a folder, or s3://BUCKET/PREFIX or az://CONTAINER/PREFIX (gs:// was not "
        "tried); empty means HOME/lake. Another root is another, empty lake: landing would begin again at the oldest "
        "record that the broker still holds.",
    )
    aws_region: str = Field(
        default="",
        description="Region of the lake's bucket; empty: what the environment says (AWS_REGION). A wrong one: S3 "
        "answers 301 or 400, and every run fails with a sentence that names it.",
    )
    s3_endpoint: str = Field(
        default="",
        description="URL of an S3 server other than AWS's own (a VPC endpoint, a server here); empty for that one. A "
        "wrong one: every run fails after about a minute of tries, naming it.",
    )
    s3_ca: Path | None = Field(
        default=None,
        description="PEM file with the authority that signed s3_endpoint's certificate, and all others that the "
        "process is to trust: it takes the place of SSL_CERT_FILE. Another one: the connection is refused.",
    )
    s3_credentials: Path | None = Field(
        default=None,
        description="File with an access key in the form of AWS's shared credentials, its section [default]; empty: "
        "the role of the process. A wrong key: S3 answers 403, and every run fails with a sentence.",
    )
    s3_kms_key: str = Field(
        default="",
        description="ARN of the KMS key that every object of the lake is encrypted with (SSE-KMS); empty: as the "
        "bucket says. A wrong, disabled or denied one: nothing can be written, and nothing is lost.",
    )

    kafka_bootstrap: str = Field(
        default="127.0.0.1:9092",
        description="Broker addresses, host:port, comma separated. A wrong one: uploads answer 503 and runs fail "
        "after kafka_timeout_seconds, both naming this address.",
    )
    kafka_ca: Path | None = Field(
        default=None,
        description="PEM file of the authority that signed the brokers' certificates. Another one: the client "
        "refuses the broker ('certificate verify failed').",
    )
    kafka_certificate: Path | None = Field(
        default=None,
        description="PEM client certificate; its common name is this process's identity. Without it the broker "
        "closes the connection.",
    )
    kafka_key: Path | None = Field(
        default=None, description="PEM private key of kafka_certificate. Another one: the TLS handshake fails."
    )
    kafka_extra: dict[str, str] = Field(
        default_factory=dict,
        description="Further librdkafka properties, applied last, for instance SASL for a managed cluster. An unknown "
        "one stops the door at its start and every run at its first question, with librdkafka's sentence. Properties "
        "of several sources (file, environment) come together, by name.",
    )
    kafka_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=20.0,
        description="How long an answer of the broker is waited for. Too high: a door that answers 503 late. Too low: "
        "false alarms under load.",
    )
    topic: str = Field(
        default="images.raw",
        description="Topic of the images. Another name is another stream: it lands beside the old one.",
    )
    labels_topic: str = Field(
        default="images.labels",
        description="Topic of corrected labels. Another name is another stream: corrections sent to the old one and "
        "not landed yet stay there.",
    )
    recognised_topic: str = Field(
        default="images.recognised",
        description="Topic of the answers of the sub-second lane. Another name is another stream: answers wait in the "
        "old one, and the batch lane gives them again.",
    )
    topic_partitions: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4,
        description="Partitions of each topic when it is first made; later changes do nothing. Too high: each one "
        "costs the broker open files, and bronze a row group in every file. Too low: no more consumers than this can "
        "share the topic's records.",
    )
    origin_cluster: str = Field(
        default="local",
        description="Name of this site's Kafka cluster, kept in bronze. Another name: rows landed from then on look "
        "like another site's; two sites with one name cannot be told apart.",
    )

    postgres_dsn: str = Field(
        default="",
        description="libpq connection string of the platform's database. Wrong: status questions answer 503; images "
        "are still taken, and their state is filled in by the next landing.",
    )
    shop_dsn: str = Field(
        default="",
        description="libpq connection string of the shop's database, as the role of the shop's assets. Wrong: the "
        "shop's assets and the check of rights fail with a sentence that names the address.",
    )
    policy_dsn: str = Field(
        default="",
        description="libpq connection string of the role that applies the policy in PostgreSQL. Empty: the asset of "
        "the policy only compares, and `darkroom up` applies; set, whoever may start runs may have it applied. A wrong "
        "one: the asset's runs fail with a sentence, and nothing is changed.",
    )

    mlflow_url: str = Field(
        default="http://127.0.0.1:5000",
        description="Address of the MLflow server. A wrong one: training and scoring fail with a sentence that "
        "names it; images are taken and developed all the same.",
    )
    mlflow_ca: Path | None = Field(
        default=None,
        description="PEM certificate of the authority that MLflow's server is known by; the system's own unless given. "
        "A wrong one: as with mlflow_url.",
    )
    mlflow_client: Path | None = Field(
        default=None,
        description="PEM file with the certificate that is shown to MLflow's server, and its key. A wrong one: as with "
        "mlflow_url.",
    )
    mlflow_registry_url: str = Field(
        default="",
        description="Where models are registered, if not where runs are kept: databricks-uc for Unity Catalog. A wrong "
        "one: as with mlflow_url.",
    )
    mlflow_schema: str = Field(
        default="",
        description="What stands before the names of models in the registry: CATALOG.SCHEMA of Unity Catalog. Another "
        "one: models registered before are not found, until they are trained anew.",
    )
    mlflow_experiment: str = Field(
        default="recognition",
        description="Experiment that training runs are kept under; on Databricks a path of the workspace. Another "
        "one: the runs before stay where they are.",
    )
    recognition_floor: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.9,
        description="Accuracy on the test split below which no model becomes champion, also where there is none. Too "
        "high: nothing is ever recognised. Too low: the first model is promoted however bad it is.",
    )
    recognition_warn: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.94,
        description="Share of a day's labelled images, not learned from, that the champion must name right; below it "
        "the check warns, below recognition_floor it is an error. Too high: a warning every day. Too low: "
        "a model that gets worse is noticed late; below recognition_floor no warning comes first.",
    )
    drift_warn: Annotated[float, Field(gt=0)] = Field(
        default=0.1,
        description="Population stability index of the last day's features from which on the check warns. Too high: "
        "a change is noticed late, and above drift_error no warning comes first. Too low: chance alone warns, for 300 "
        "images have 0.08 without any drift.",
    )
    drift_error: Annotated[float, Field(gt=0)] = Field(
        default=0.25,
        description="The same, from which on it is an error; nothing is stopped by it. Too high: images that the model "
        "was never shown go unnoticed. Too low: an error for what a nightly training takes in.",
    )
    recognition_distrust: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6,
        description="Share of an uploader's labels that a model is sure are wrong, beyond that of the others, from "
        "which on nothing is promoted and these labels are left out of the next training set. Too high: wrong labels "
        "are learned. Too low: honest labels of pictures that the model knows little are left out.",
    )
    recognition_growth: Annotated[float, Field(gt=0, le=100)] = Field(
        default=0.2,
        description="Share by which labelled images must have grown since the champion learned before training is "
        "asked for between two nights. Too high: new labels wait for the nightly run. Too low: the machine "
        "trains all day.",
    )
    recognition_least: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="Labelled images from which on the first model is trained without anybody asking. Too high: "
        "somebody must ask, or wait for the night. Too low: a first model of few images, judged on a handful.",
    )

    keys: str = Field(
        default="",
        description="Root of the key store; empty means HOME/keys. Another root knows none of the old keys: "
        "every image sealed before is unreadable until it is put back.",
    )
    keys_provider: Literal["local", "aws-kms"] = Field(
        default="local",
        description="Where the customer-managed key lives: 'local' keeps it in the key store, where whoever reads the "
        "folder has it; 'aws-kms' asks AWS KMS, and stops where that is away. An unknown one stops the process at "
        "start.",
    )
    keys_kms_key: str = Field(
        default="",
        description="ARN, id or alias of the customer-managed key in AWS KMS, for the provider aws-kms. A wrong one: "
        "nothing is opened or sealed, and the sentence names it.",
    )
    kms_endpoint: str = Field(
        default="",
        description="URL of KMS where it is not the region's own, such as a VPC endpoint. A wrong one: nothing is "
        "opened or sealed until KMS answers; doors answer 503.",
    )
    key_cache_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=30.0,
        description="How long an opened data key is kept in memory. Too high: so long does a destroyed key still open. "
        "Too low: the key store is read more often, at 0 for every key.",
    )

    max_image_bytes: Annotated[int, Field(ge=1024, le=64 * MEBIBYTE)] = Field(
        default=10 * MEBIBYTE,
        description="Largest image, in bytes; a larger one is refused while it is read (413) or quarantined "
        "(too_large). Too high: above the topic's max.message.bytes the broker refuses what the door lets in. Too low: "
        "good images are turned away.",
    )
    stream_connections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000,
        description="Connections that one instance of the stream service has open at a time; more are refused (503). "
        "Too high: each idle one costs some 60 kB, and a file of the process's limit. Too low: machines wait outside.",
    )
    max_pixels: Annotated[int, Field(ge=1)] = Field(
        default=50_000_000,
        description="Most pixels (width x height) of an image; more is quarantined as too_many_pixels. "
        "Too high: a small hostile file may need gigabytes. Too low: good photographs end in quarantine.",
    )
    thumbnail_pixels: Annotated[int, Field(ge=16, le=2048)] = Field(
        default=256,
        description="Longest side of a thumbnail in pixels; a change applies to images developed from then on. "
        "Too high: the table grows, and large JPEGs are decoded larger, which is slower. Too low: a person cannot see "
        "what the image shows.",
    )
    unsealed: Literal["accept", "quarantine"] = Field(
        default="accept",
        description="What becomes of records that did not come through a door of ours: developed, or quarantined as "
        "not_sealed. 'accept' lets every producer with WRITE on the topic bring images that no key can erase; "
        "'quarantine' turns away every image of those who may only write plain ones.",
    )

    flush_bytes: Annotated[int, Field(ge=MEBIBYTE, le=256 * MEBIBYTE)] = Field(
        default=16 * MEBIBYTE,
        description="Landing commits when this many bytes are read. Too high: costs memory, and was slower when "
        "measured. Too low: more, smaller files.",
    )
    flush_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=10.0,
        description="Landing commits at least this often while records come. Too high: what comes slowly waits so long "
        "before it is in bronze. Too low: more, smaller files.",
    )
    jars: Path | None = Field(
        default=None,
        description="Folder with Kafka's jars; empty means jvm/target/kafka beside the source tree. A folder "
        "without them: `darkroom up` stops and says how to get them.",
    )

    @property
    def lake_root(self) -> str:
        """Root URI or folder of the Delta tables."""
        return self.lake or str(self.home.absolute() / "lake")

    @property
    def jvm_root(self) -> Path:
        """The folder with one folder of jars for each part in Java: kafka, s3, spark."""
        return self.jars.parent if self.jars else Path(__file__).resolve().parents[1] / "jvm" / "target"

    @property
    def audit_log(self) -> Path:
        """What people did that must not be forgotten; see `resources.audit`."""
        return self.home / "logs" / "audit.log"

    @property
    def identity(self) -> str:
        """Who this process is, for logs: the name of its certificate's file, else of the account it runs as."""
        if self.kafka_certificate is not None:
            return self.kafka_certificate.stem
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return str(os.getuid())

    def acting_as(self, name: Acting) -> Settings:
        """The settings of a part of this process that acts as another identity; as they are where none is named."""
        given = self.identities.get(name)
        if given is None:
            return self
        return self.model_copy(update={**given.model_dump(exclude_none=True), "identities": {}})

    @property
    def keys_root(self) -> str:
        """Root URI or folder of the key store."""
        return self.keys or str(self.home.absolute() / "keys")

    @property
    def signer_path(self) -> Path:
        """The private key that sign-in signs with."""
        return self.signer_file or self.home.absolute() / "secrets" / "signer.key"

    @property
    def jwks_path(self) -> Path:
        """The JWKS file that tokens are verified with."""
        return self.token_jwks or self.home / "tls" / "jwks.json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment; the TOML file is added by `load_settings`, which knows its path."""
        toml = settings_cls.model_config.get("toml_file")
        extra = (TomlConfigSettingsSource(settings_cls, toml),) if toml else ()
        return init_settings, env_settings, *extra

    @model_validator(mode="after")
    def _kms_has_a_key(self) -> Self:
        if self.keys_provider == "aws-kms" and not self.keys_kms_key:
            raise ValueError("keys_provider is aws-kms, and keys_kms_key names no key: set it to an ARN or alias/NAME")
        return self


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of this process.

    Args:
        overrides: values that win over environment and file, by setting name.

    Raises:
        SettingsError: an unknown setting in the file or arguments, or a value that cannot be; says which, what was
            given, and the valid names.
    """
    named = os.environ.get("DARKROOM_CONFIG")
    home = Path(
        (overrides or {}).get("home") or os.environ.get("DARKROOM_HOME") or Settings.model_fields["home"].default
    )
    path = Path(named) if named else home / "darkroom.toml"
    if named and not path.is_file():
        raise SettingsError(
            f"DARKROOM_CONFIG names {path}, and there is no such file. Write it, or unset DARKROOM_CONFIG."
        )
    try:
        return (_reading(path) if path.is_file() else Settings)(**dict(overrides or {}))
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None


@cache
def _reading(path: Path) -> type[Settings]:
    """Settings that look into a file too. Kept, for pydantic takes a tenth of a second to make a class."""
    config = cast("SettingsConfigDict", {**Settings.model_config, "toml_file": path})
    return type("Settings", (Settings,), {"model_config": config, "__module__": __name__})


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            valid = ", ".join(sorted(Settings.model_fields))
            lines.append(f"{name} is no setting of Darkroom. Valid ones: {valid}.")
            continue
        field = Settings.model_fields.get(name.split(".")[0])
        meaning = f" ({field.description})" if field is not None else ""
        lines.append(f"{name} = {problem.get('input')!r}: {problem['msg']}{meaning}")
    source = f"arguments, environment (DARKROOM_*), {path}" if path.is_file() else "arguments, environment (DARKROOM_*)"
    return f"Settings refused, read from {source}:\n" + "\n".join(lines)
