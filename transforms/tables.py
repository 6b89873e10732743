"""The lake's tables: name, columns, partitions and Delta properties, as data.

One `TableSpec` a table, used to create it, to check what is written against it, and to show its columns in Dagster.
Properties keep to reader 1 / writer 2 features, which every Delta engine reads. Statistics are collected on small
columns only: the first bytes of an image say nothing and would bloat the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TableSpec:
    """One Delta table: its name under the lake's root, Arrow schema, day partitions, sealed columns and properties."""

    name: str
    description: str
    schema: pa.Schema
    statistics: tuple[str, ...]
    sealed: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ("day",)
    incompressible: tuple[str, ...] = ()
    """Columns whose bytes are ciphertext or compressed already; the sealed ones are so anyway."""
    row_group_by: str | None = None
    """32-bit integer column whose every value gets its own row groups, so that readers of one value skip the others."""
    properties: Mapping[str, str] = field(default_factory=dict)

    def configuration(self) -> dict[str, str]:
        """Delta table properties, statistics columns included."""
        return {
            # Partition columns need none, and other engines refuse them here.
            "delta.dataSkippingStatsColumns": ",".join(c for c in self.statistics if c not in self.partition_by),
            "delta.enableDeletionVectors": "false",
            "delta.checkpointInterval": "20",
            # A commit every few seconds makes thousands of log entries a day; opening lists those that are kept.
            "delta.logRetentionDuration": "interval 3 days",
            **self.properties,
        }


def _column(name: str, kind: pa.DataType, description: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": description})


_ORIGIN = [
    _column("topic", pa.string(), "Kafka topic", False),
    _column("topic_id", pa.string(), "Kafka's unique id of that topic; a topic made anew has another", False),
    _column("partition", pa.int32(), "Kafka partition", False),
    _column("offset", pa.int64(), "Kafka offset", False),
]


def _bronze(name: str, description: str, payload: str) -> TableSpec:
    """A table that a topic lands in, verbatim: docs/landing-protocol.md names its columns."""
    return TableSpec(
        name=name,
        description=description,
        schema=pa.schema(
            [
                *_ORIGIN,
                _column("timestamp", INSTANT, "when the broker appended the record", False),
                _column("key", pa.binary(), "record key as sent"),
                _column(
                    "headers",
                    pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())])),
                    "record headers as sent, in order",
                ),
                _column("payload", pa.binary(), f"record value as sent: {payload}; null for a tombstone"),
                _column("payload_sha256", pa.binary(), "SHA-256 of the stored payload, 32 bytes; null for a tombstone"),
                _column("origin_cluster", pa.string(), "name of the cluster it was read from", False),
                _column("landed_at", INSTANT, "when it was read for landing", False),
                _column(
                    "day",
                    pa.date32(),
                    "the envelope's day, or the append day where that is off by more than one",
                    False,
                ),
            ]
        ),
        statistics=("topic", "topic_id", "partition", "offset", "timestamp", "landed_at"),
        incompressible=("payload", "payload_sha256"),
        row_group_by="partition",
    )


RAW_IMAGES = _bronze("images/raw_images", "Bronze: every record of the stream, verbatim.", "the sealed image")

LABEL_CORRECTIONS = _bronze(
    "images/label_corrections",
    "Bronze: every correction of a label, verbatim; of an image the last one counts.",
    "the sealed label",
)

RECOGNISED_STREAM = _bronze(
    "recognition/recognised_stream",
    "Bronze: every answer of the sub-second lane, verbatim; doubled ones too.",
    "the sealed answer",
)

PROCESSED_IMAGES = TableSpec(
    name="images/processed_images",
    description="Silver: valid images developed, one row per image id.",
    schema=pa.schema(
        [
            _column("id", pa.string(), "image id, 26 characters", False),
            _column("day", pa.date32(), "day of the image", False),
            _column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            _column("key", pa.string(), "data key that opens the sealed columns", False),
            _column("groups", pa.list_(pa.string()), "uploader's groups at the door"),
            _column("via", pa.string(), "door it came through; null when it came unsealed"),
            _column("format", pa.string(), "JPEG, PNG, WEBP, TIFF, BMP or GIF", False),
            _column("bytes", pa.int64(), "size of the image in bytes", False),
            _column("width", pa.int32(), "width in pixels, after EXIF orientation", False),
            _column("height", pa.int32(), "height in pixels, after EXIF orientation", False),
            _column("perceptual_hash", pa.string(), "64-bit DCT hash, 16 hex digits", False),
            _column("near_duplicate_of", pa.string(), "id of an earlier image of that day that looks the same"),
            _column("brightness", pa.float64(), "mean luma, 0 to 255", False),
            _column("sharpness", pa.float64(), "variance of the luma's Laplacian", False),
            _column("sha256", pa.binary(), "sealed: SHA-256 of the image"),
            _column("thumbnail", pa.binary(), "sealed: WebP thumbnail, longest side `thumbnail_pixels`, no metadata"),
            _column("label", pa.binary(), "sealed: label given by the uploader, UTF-8"),
            _column("uploader", pa.binary(), "sealed: uploader's name, UTF-8"),
            _column("filename", pa.binary(), "sealed: file name given by the uploader, UTF-8"),
            _column("uploaded_at", INSTANT, "when the door first took it", False),
            _column("appended_at", INSTANT, "when the broker appended it", False),
            _column("processed_at", INSTANT, "when it was developed", False),
            *_ORIGIN,
        ]
    ),
    statistics=("id", "topic_id", "partition", "offset", "perceptual_hash", "processed_at"),
    sealed=("sha256", "thumbnail", "label", "uploader", "filename"),
)

QUARANTINED_IMAGES = TableSpec(
    name="images/quarantined_images",
    description="Every record that is no good image, with a reason code and a sentence.",
    schema=pa.schema(
        [
            *_ORIGIN,
            _column("id", pa.string(), "image id, where the record has one that can be believed"),
            _column("day", pa.date32(), "day of the record", False),
            _column("pseudonym", pa.string(), "uploader's pseudonym on the key's day, where it is known"),
            _column("key", pa.string(), "data key that opened the envelope; null where none did, or it came unsealed"),
            _column("groups", pa.list_(pa.string()), "uploader's groups, where the envelope could be opened"),
            _column("bytes", pa.int64(), "size of the stored record in bytes", False),
            _column("reason", pa.string(), "reason code", False),
            _column("detail", pa.string(), "one sentence: what was tried and what came back", False),
            _column("appended_at", INSTANT, "when the broker appended it", False),
            _column("quarantined_at", INSTANT, "when it was put here", False),
        ]
    ),
    statistics=("topic_id", "partition", "offset", "id", "reason", "quarantined_at"),
)

DAILY_UPLOADS = TableSpec(
    name="images/daily_uploads",
    description="Gold: counts, bytes, reasons and latency per day and uploader group.",
    schema=pa.schema(
        [
            _column("day", pa.date32(), "day of the images", False),
            _column(
                "uploader_group", pa.string(), "group of the uploaders; '(all)' for everyone, '(none)' for none", False
            ),
            _column("processed", pa.int64(), "images developed", False),
            _column("quarantined", pa.int64(), "records quarantined", False),
            _column("bytes", pa.int64(), "bytes of the developed images", False),
            _column("near_duplicates", pa.int64(), "developed images that look like an earlier one", False),
            _column(
                "reasons",
                pa.list_(pa.struct([pa.field("reason", pa.string()), pa.field("records", pa.int64())])),
                "quarantined records by reason, most first",
            ),
            _column("latency_p50_seconds", pa.float64(), "median from append to developed"),
            _column("latency_p99_seconds", pa.float64(), "99th percentile from append to developed"),
            _column("computed_at", INSTANT, "when this row was computed", False),
        ]
    ),
    statistics=("day", "uploader_group", "computed_at"),
)

IMAGE_FEATURES = TableSpec(
    name="images/image_features",
    description="Numeric features for learning, one row per developed image.",
    schema=pa.schema(
        [
            _column("id", pa.string(), "image id, 26 characters", False),
            _column("day", pa.date32(), "day of the image", False),
            _column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            _column("key", pa.string(), "data key that opens the sealed columns", False),
            _column(
                "feature_version", pa.string(), "recipe of the features; vectors of two recipes compare not", False
            ),
            _column("features", pa.binary(), "sealed: the vector, little-endian float32"),
            _column("appended_at", INSTANT, "when the broker appended the image", False),
            _column("computed_at", INSTANT, "when the features were computed", False),
            *_ORIGIN,
        ]
    ),
    statistics=("id", "topic_id", "partition", "offset", "computed_at"),
    sealed=("features",),
)

TRAINING_SET = TableSpec(
    name="recognition/training_set",
    description="Labelled features, split by content hash: the same picture is never in two splits.",
    schema=pa.schema(
        [
            _column("id", pa.string(), "image id, 26 characters", False),
            _column("day", pa.date32(), "day of the image", False),
            _column("key", pa.string(), "data key that opens the sealed columns", False),
            _column("split", pa.string(), "train, validation or test", False),
            _column("feature_version", pa.string(), "recipe of the features", False),
            _column("features", pa.binary(), "sealed: the vector, little-endian float32"),
            _column("label", pa.binary(), "sealed: the label, UTF-8"),
            _column("made_at", INSTANT, "when this set was made", False),
        ]
    ),
    statistics=("id", "split", "made_at"),
    sealed=("features", "label"),
)

RECOGNISED_IMAGES = TableSpec(
    name="recognition/recognised_images",
    description="What champions named each image, one row per image id and model version.",
    schema=pa.schema(
        [
            _column("id", pa.string(), "image id, 26 characters", False),
            _column("day", pa.date32(), "day of the image", False),
            _column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            _column("key", pa.string(), "data key that opens the sealed columns", False),
            _column("model", pa.string(), "name of the registered model", False),
            _column("model_version", pa.string(), "its version in the registry, @, begin of its run's id", False),
            _column("label", pa.binary(), "sealed: what the model named it, UTF-8"),
            _column("probability", pa.float64(), "how probable the model holds its answer, 0 to 1", False),
            _column("lane", pa.string(), "who scored it: batch, or stream (sub-second)", False),
            _column("scored_at", INSTANT, "when it was scored", False),
            *_ORIGIN,
        ]
    ),
    statistics=("id", "model", "model_version", "topic_id", "partition", "offset", "probability", "scored_at"),
    sealed=("label",),
)

RECOGNITION_QUALITY = TableSpec(
    name="recognition/recognition_quality",
    description="How each champion does on each day: labels named right, drift of features; counts only.",
    schema=pa.schema(
        [
            _column("day", pa.date32(), "day of the images", False),
            _column("model", pa.string(), "name of the registered model", False),
            _column("model_version", pa.string(), "the champion, as in recognised_images", False),
            _column("named", pa.int64(), "images of the day that it has named", False),
            _column("labelled", pa.int64(), "images with a label that it did not learn from", False),
            _column("labelled_right", pa.int64(), "of them, named as the label says", False),
            _column(
                "drift", pa.float64(), "population stability index of the features; null where it was not measured"
            ),
            _column("developed", pa.int64(), "images of the day, of all kinds", False),
            _column("near_duplicates", pa.int64(), "of them, those that look like an earlier one", False),
            _column("computed_at", INSTANT, "when this row was computed", False),
        ]
    ),
    statistics=("day", "model", "computed_at"),
)

TABLES: tuple[TableSpec, ...] = (
    RAW_IMAGES,
    PROCESSED_IMAGES,
    QUARANTINED_IMAGES,
    IMAGE_FEATURES,
    DAILY_UPLOADS,
    TRAINING_SET,
    RECOGNISED_IMAGES,
    LABEL_CORRECTIONS,
    RECOGNISED_STREAM,
    RECOGNITION_QUALITY,
)
"""Every table; those of the group `images` are what the live lane writes."""
