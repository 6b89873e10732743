"""Settings of the lake: where the Delta tables are, and how a bucket is reached."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from resources.settings_home import HomeSettings


class LakeSettings(HomeSettings):
    """A part of `resources.settings.Settings`."""

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

    @property
    def lake_root(self) -> str:
        """Root URI or folder of the Delta tables."""
        return self.lake or str(self.home.absolute() / "lake")
