"""Settings of Kafka: brokers, who this process is to them, and the topics."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field


class KafkaSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

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

    @property
    def identity(self) -> str:
        """Who this process is, for logs: the name of its certificate's file, else of the account it runs as."""
        if self.kafka_certificate is not None:
            return self.kafka_certificate.stem
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return str(os.getuid())
