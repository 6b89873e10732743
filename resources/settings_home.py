"""Settings of where this stack's own files are: state, data, logs, and Kafka's jars."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class HomeSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

    home: Path = Field(
        default=Path(".darkroom"),
        description="Folder of this stack's state, data and logs. Another folder is another, empty stack.",
    )
    jars: Path | None = Field(
        default=None,
        description="Folder with Kafka's jars; empty means jvm/target/kafka beside the source tree. A folder "
        "without them: `darkroom up` stops and says how to get them.",
    )

    @property
    def audit_log(self) -> Path:
        """What people did that must not be forgotten; see `resources.audit`."""
        return self.home / "logs" / "audit.log"

    @property
    def jvm_root(self) -> Path:
        """The folder with one folder of jars for each part in Java: kafka, s3, spark."""
        return self.jars.parent if self.jars else Path(__file__).resolve().parents[1] / "jvm" / "target"
