"""Where a lake lies, said once for all who read or write it: delta-rs, polars, Arrow, obstore, boto3, Spark.

Why: one wrong option in one of five places is a table encrypted with the wrong key, or not at all. Mechanism: options
are made here from the settings; a commit is a conditional put (`etag`), never a rename, so that of two committers one
loses, without a lock table. Credentials are the role of the process (environment, web identity, instance), unless the
settings name a file of them.

Limits: delta-rs and polars know no authority but those of the process's environment (SSL_CERT_FILE), which `prepare`
sets where the settings name one. Google's and Azure's stores take their libraries' own environment.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow.fs

from resources.failures import PermanentFailure

if TYPE_CHECKING:
    from resources.settings import Settings

_NO_VERSIONS = ("NotImplemented", "MethodNotAllowed")
"""What servers answer that know no versions."""
S3_SCHEMES = ("s3", "s3a")
SCHEMES = (*S3_SCHEMES, "az", "gs")
CONNECT_SECONDS, ANSWER_SECONDS = 5, 30
TRIES, TRY_SECONDS = 8, 60
"""A store that answers 503 or nothing is asked again so often, for so long; then the run fails."""
FIRST_PAUSE = "500ms"
"""At least this is waited between two tries of delta-rs."""


class StorageRefused(PermanentFailure):
    """The settings of the lake's storage cannot be: an unknown scheme, no credentials in the file that they name."""


@dataclass(frozen=True)
class Credentials:
    """An access key of S3; shows itself in no log."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Storage:
    """A folder, or a bucket with a prefix.

    Attributes:
        root: folder or URI.
        endpoint: of an S3 server other than AWS's own; empty for that one.
        region: empty for what the environment says.
        ca: PEM file of the authority that signed the endpoint's certificate.
        credentials: None for the role of this process.
        profile: of AWS's configuration file, whose role asks where there are no credentials; empty for the process's.
        kms_key: key id or ARN that S3 encrypts every object with (SSE-KMS); empty for the bucket's default.
    """

    root: str
    endpoint: str = ""
    region: str = ""
    ca: Path | None = None
    credentials: Credentials | None = None
    kms_key: str = ""
    profile: str = ""

    @property
    def scheme(self) -> str:
        """`file`, or the URI's."""
        return urlsplit(self.root).scheme if "://" in self.root else "file"

    @property
    def remote(self) -> bool:
        """Whether it is an object store."""
        return self.scheme != "file"

    def delta_options(self) -> dict[str, str]:
        """`storage_options` of delta-rs, which polars takes over with the handle; empty for a folder."""
        if not self.remote:
            return {}
        self.prepare()
        return {
            **{f"aws_{name}": value for name, value in self._s3_config().items()},
            "timeout": f"{ANSWER_SECONDS}s",
            "connect_timeout": f"{CONNECT_SECONDS}s",
            # How often it tries again is delta-rs's own default (ten times): polars reads these options too, and takes
            # no text for a number of tries. But from 100 ms on the ten are over before a server has started again.
            "backoff_config.init_backoff": FIRST_PAUSE,
            **({"allow_http": "true"} if self.endpoint.startswith("http://") else {}),
        }

    def spark_options(self) -> dict[str, str]:
        """Properties of a Spark session, without the prefix `spark.`; its own trust store holds `ca`."""
        if self.scheme not in S3_SCHEMES:
            return {}
        options = {
            "hadoop.fs.s3a.endpoint": self.endpoint,
            "hadoop.fs.s3a.endpoint.region": self.region,
            "hadoop.fs.s3a.path.style.access": "true" if self.endpoint else "",
            "hadoop.fs.s3a.connection.establish.timeout": f"{CONNECT_SECONDS}s",
            "hadoop.fs.s3a.connection.timeout": f"{ANSWER_SECONDS}s",
            "hadoop.fs.s3a.attempts.maximum": str(TRIES),
            "hadoop.fs.s3a.encryption.algorithm": "SSE-KMS" if self.kms_key else "",
            "hadoop.fs.s3a.encryption.key": self.kms_key,
        }
        if (given := self.credentials) is not None:
            kind = "TemporaryAWSCredentialsProvider" if given.token else "SimpleAWSCredentialsProvider"
            options |= {
                "hadoop.fs.s3a.aws.credentials.provider": f"org.apache.hadoop.fs.s3a.{kind}",
                "hadoop.fs.s3a.access.key": given.key_id,
                "hadoop.fs.s3a.secret.key": given.secret,
                "hadoop.fs.s3a.session.token": given.token or "",
            }
        return {name: value for name, value in options.items() if value}

    def client(self) -> Any:
        """A boto3 client of S3, for what delta-rs and obstore have no word for: buckets, and what is set on them."""
        from botocore.config import Config

        given = self.credentials
        return self._session().client(
            "s3",
            endpoint_url=self.endpoint or None,
            region_name=self.region or None,
            verify=str(self.ca) if self.ca else None,
            aws_access_key_id=given.key_id if given else None,
            aws_secret_access_key=given.secret if given else None,
            aws_session_token=given.token if given else None,
            config=Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=ANSWER_SECONDS,
                retries={"mode": "standard", "total_max_attempts": TRIES},
                s3={"addressing_style": "path" if self.endpoint else "auto"},
                # What servers other than AWS's do not know is only sent where S3 asks for it.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def versioned(self) -> bool:
        """Whether the bucket keeps, or kept, older versions of its objects; False off S3 and where a server has none.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: the bucket does not say.
        """
        from botocore.exceptions import ClientError

        if self.scheme not in S3_SCHEMES:
            return False
        try:
            # "Suspended" keeps what it had.
            return "Status" in self.client().get_bucket_versioning(Bucket=urlsplit(self.root).netloc)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NO_VERSIONS:
                return False
            raise

    def forget_versions(self, prefix: str) -> int:
        """Delete every version but the present one of each object whose path below the root begins so, and the markers
        of deleted ones. Returns how many.

        Raises:
            botocore.exceptions.ClientError, BotoCoreError: the bucket refuses or is away; some may be gone.
        """
        client, parts = self.client(), urlsplit(self.root)
        below = f"{parts.path.strip('/')}/{prefix}".lstrip("/")
        count = 0
        for page in client.get_paginator("list_object_versions").paginate(Bucket=parts.netloc, Prefix=below):
            old = [one for one in page.get("Versions", []) if not one["IsLatest"]]
            for one in [*old, *page.get("DeleteMarkers", [])]:
                client.delete_object(Bucket=parts.netloc, Key=one["Key"], VersionId=one["VersionId"])
                count += 1
        return count

    def filesystem(self, uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        """Arrow's file system, and the path in it, of something below the root."""
        if not self.remote:
            return pyarrow.fs.LocalFileSystem(), str(Path(uri).absolute())
        parts = urlsplit(uri)
        return self._objects, f"{parts.netloc}{parts.path}"

    def object_options(self) -> dict[str, Any]:
        """Keyword arguments of obstore's stores."""
        self.prepare()
        options: dict[str, Any] = {
            "client_options": {
                "timeout": f"{ANSWER_SECONDS}s",
                "connect_timeout": f"{CONNECT_SECONDS}s",
                "allow_http": self.endpoint.startswith("http://"),
            },
            "retry_config": {"max_retries": TRIES, "retry_timeout": _seconds(TRY_SECONDS)},
        }
        if self.scheme in S3_SCHEMES:
            options["config"] = self._s3_config()
            if self.credentials is None:
                from obstore.auth.boto3 import Boto3CredentialProvider

                options["credential_provider"] = Boto3CredentialProvider(self._session())
        return options

    def prepare(self) -> None:
        """Make the endpoint's authority known to this process, and to those that it starts."""
        if self.ca is not None:
            # In the place of what stands there, for the libraries read one file: who needs more adds them to it.
            os.environ["SSL_CERT_FILE"] = str(self.ca)

    def _session(self) -> Any:
        import boto3
        from botocore.exceptions import ProfileNotFound

        try:
            # One of its own: the default one remembers whose credentials it found first.
            return boto3.session.Session(profile_name=self.profile or None)
        except ProfileNotFound as error:
            raise StorageRefused(
                f"There is no profile {self.profile!r} in AWS's configuration (setting `keys_profile`); there are "
                f"{', '.join(boto3.session.Session().available_profiles) or 'none'}. AWS_CONFIG_FILE names the file.",
                {"profile": self.profile},
            ) from error

    @cached_property
    def _objects(self) -> pyarrow.fs.FileSystem:
        # Arrow's own S3 file system cannot name a KMS key.
        from obstore.fsspec import FsspecStore

        protocol: Any = "s3" if self.scheme in S3_SCHEMES else self.scheme
        # fsspec keeps instances by their arguments, and with them whatever credentials the first had.
        options: dict[str, Any] = {"skip_instance_cache": True, **self.object_options()}
        store = FsspecStore(protocol, **options)
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store))

    def _s3_config(self) -> dict[str, str]:
        if self.scheme not in S3_SCHEMES:
            return {}
        options = {
            "region": self.region,
            "endpoint": self.endpoint,
            "virtual_hosted_style_request": "false" if self.endpoint else "",
            "conditional_put": "etag",
            "server_side_encryption": "aws:kms" if self.kms_key else "",
            "sse_kms_key_id": self.kms_key,
            # One data key a bucket for some time, and not a call of KMS for each object.
            "sse_bucket_key_enabled": "true" if self.kms_key else "",
        }
        if (given := self.credentials) is not None:
            options |= {
                "access_key_id": given.key_id,
                "secret_access_key": given.secret,
                "session_token": given.token or "",
            }
        return {name: value for name, value in options.items() if value}


def storage_of(settings: Settings, root: str | None = None) -> Storage:
    """Where the lake of these settings lies, or what else `root` names; a file of credentials is read, nothing else.

    Raises:
        StorageRefused: the scheme is none that is known, or the file of credentials holds none.
    """
    place = settings.lake_root if root is None else root
    on_s3 = place.partition("://")[0] in S3_SCHEMES
    given = settings.s3_credentials
    storage = Storage(
        place,
        endpoint=settings.s3_endpoint.rstrip("/"),
        region=settings.aws_region,
        ca=settings.s3_ca,
        credentials=read_credentials(given) if given is not None and on_s3 else None,
        kms_key=settings.s3_kms_key,
    )
    if storage.remote and storage.scheme not in SCHEMES:
        raise StorageRefused(
            f"The root {storage.root} has the scheme {storage.scheme!r}. Valid ones: a folder, "
            f"{', '.join(f'{scheme}://' for scheme in SCHEMES)} (settings `lake` and `keys`).",
            {"root": storage.root},
        )
    if storage.remote and not urlsplit(storage.root).netloc:
        raise StorageRefused(
            f"The root {storage.root} names no bucket: it is {storage.scheme}://BUCKET/PREFIX.",
            {"root": storage.root},
        )
    return storage


def read_credentials(path: Path) -> Credentials:
    """The default profile of a file in the form of AWS's shared credentials.

    Raises:
        StorageRefused: there is none; the sentence shows nothing of what the file holds.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text())
        profile: Mapping[str, str] = parser["default"]
        return Credentials(
            profile["aws_access_key_id"], profile["aws_secret_access_key"], profile.get("aws_session_token")
        )
    except OSError as error:
        raise StorageRefused(
            f"The file of S3 credentials {path} cannot be read: {error.strerror} (setting `s3_credentials`). Leave the "
            "setting empty to use the role of this process."
        ) from error
    except (configparser.Error, KeyError, UnicodeDecodeError):
        # The parser's error carries the line, which may be the secret.
        raise StorageRefused(
            f"The file {path} (setting `s3_credentials`) is no file of AWS credentials: it needs a section [default] "
            "with aws_access_key_id and aws_secret_access_key."
        ) from None


def _seconds(seconds: float) -> Any:
    from datetime import timedelta

    return timedelta(seconds=seconds)
