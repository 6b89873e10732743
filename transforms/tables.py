"""The lake's tables: name, columns, partitions and Delta properties, as data.

One `TableSpec` a table, used to create it, to check what is written against it, and to show its columns in Dagster.
Properties keep to reader 1 / writer 2 features, which every Delta engine reads. Statistics are collected on small
columns only: the first bytes of an image say nothing and would bloat the log.
"""

from __future__ import annotations

import pyarrow as pa

from transforms.shop_tables import SHOP_TABLES
from transforms.table_spec import INSTANT, TableSpec, column

__all__ = ["INSTANT", "TABLES", "TableSpec"]

_ORIGIN = [
    column("topic", pa.string(), "Kafka topic", False),
    column("topic_id", pa.string(), "Kafka's unique id of that topic; a topic made anew has another", False),
    column("partition", pa.int32(), "Kafka partition", False),
    column("offset", pa.int64(), "Kafka offset", False),
]


def _bronze(name: str, description: str, payload: str) -> TableSpec:
    """A table that a topic lands in, verbatim: docs/landing-protocol.md names its columns."""
    return TableSpec(
        name=name,
        description=description,
        schema=pa.schema(
            [
                *_ORIGIN,
                column("timestamp", INSTANT, "when the broker appended the record", False),
                column("key", pa.binary(), "record key as sent"),
                column(
                    "headers",
                    pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())])),
                    "record headers as sent, in order",
                ),
                column("payload", pa.binary(), f"record value as sent: {payload}; null for a tombstone"),
                column("payload_sha256", pa.binary(), "SHA-256 of the stored payload, 32 bytes; null for a tombstone"),
                column("origin_cluster", pa.string(), "name of the cluster it was read from", False),
                column("landed_at", INSTANT, "when it was read for landing", False),
                column(
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
        checks={"offsets_from_0": '"offset" >= 0'},
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
            column("id", pa.string(), "image id, 26 characters", False),
            column("day", pa.date32(), "day of the image", False),
            column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            column("key", pa.string(), "data key that opens the sealed columns", False),
            column("groups", pa.list_(pa.string()), "uploader's groups at the door"),
            column("via", pa.string(), "door it came through; null when it came unsealed"),
            column("format", pa.string(), "JPEG, PNG, WEBP, TIFF, BMP or GIF", False),
            column("bytes", pa.int64(), "size of the image in bytes", False),
            column("width", pa.int32(), "width in pixels, after EXIF orientation", False),
            column("height", pa.int32(), "height in pixels, after EXIF orientation", False),
            column("perceptual_hash", pa.string(), "64-bit DCT hash, 16 hex digits", False),
            column("near_duplicate_of", pa.string(), "id of an earlier image of that day that looks the same"),
            column("brightness", pa.float64(), "mean luma, 0 to 255", False),
            column("sharpness", pa.float64(), "variance of the luma's Laplacian", False),
            column("sha256", pa.binary(), "sealed: SHA-256 of the image"),
            column("thumbnail", pa.binary(), "sealed: WebP thumbnail, longest side `thumbnail_pixels`, no metadata"),
            column("label", pa.binary(), "sealed: label given by the uploader, UTF-8"),
            column("uploader", pa.binary(), "sealed: uploader's name, UTF-8"),
            column("filename", pa.binary(), "sealed: file name given by the uploader, UTF-8"),
            column("uploaded_at", INSTANT, "when the door first took it", False),
            column("appended_at", INSTANT, "when the broker appended it", False),
            column("processed_at", INSTANT, "when it was developed", False),
            *_ORIGIN,
        ]
    ),
    statistics=("id", "topic_id", "partition", "offset", "perceptual_hash", "processed_at"),
    sealed=("sha256", "thumbnail", "label", "uploader", "filename"),
    checks={"some_pixels": "width > 0 AND height > 0"},
)

QUARANTINED_IMAGES = TableSpec(
    name="images/quarantined_images",
    description="Every record that is no good image, with a reason code and a sentence.",
    schema=pa.schema(
        [
            *_ORIGIN,
            column("id", pa.string(), "image id, where the record has one that can be believed"),
            column("day", pa.date32(), "day of the record", False),
            column("pseudonym", pa.string(), "uploader's pseudonym on the key's day, where it is known"),
            column("key", pa.string(), "data key that opened the envelope; null where none did, or it came unsealed"),
            column("groups", pa.list_(pa.string()), "uploader's groups, where the envelope could be opened"),
            column("bytes", pa.int64(), "size of the stored record in bytes", False),
            column("reason", pa.string(), "reason code", False),
            column("detail", pa.string(), "one sentence: what was tried and what came back", False),
            column("appended_at", INSTANT, "when the broker appended it", False),
            column("quarantined_at", INSTANT, "when it was put here", False),
        ]
    ),
    statistics=("topic_id", "partition", "offset", "id", "reason", "quarantined_at"),
)

DAILY_UPLOADS = TableSpec(
    name="images/daily_uploads",
    description="Gold: counts, bytes, reasons and latency per day and uploader group.",
    schema=pa.schema(
        [
            column("day", pa.date32(), "day of the images", False),
            column(
                "uploader_group", pa.string(), "group of the uploaders; '(all)' for everyone, '(none)' for none", False
            ),
            column("processed", pa.int64(), "images developed", False),
            column("quarantined", pa.int64(), "records quarantined", False),
            column("bytes", pa.int64(), "bytes of the developed images", False),
            column("near_duplicates", pa.int64(), "developed images that look like an earlier one", False),
            column(
                "reasons",
                pa.list_(pa.struct([pa.field("reason", pa.string()), pa.field("records", pa.int64())])),
                "quarantined records by reason, most first",
            ),
            column("latency_p50_seconds", pa.float64(), "median from append to developed"),
            column("latency_p99_seconds", pa.float64(), "99th percentile from append to developed"),
            column("computed_at", INSTANT, "when this row was computed", False),
        ]
    ),
    statistics=("day", "uploader_group", "computed_at"),
    checks={"counts_from_0": "processed >= 0 AND quarantined >= 0 AND bytes >= 0"},
)

IMAGE_FEATURES = TableSpec(
    name="images/image_features",
    description="Numeric features for learning, one row per developed image.",
    schema=pa.schema(
        [
            column("id", pa.string(), "image id, 26 characters", False),
            column("day", pa.date32(), "day of the image", False),
            column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            column("key", pa.string(), "data key that opens the sealed columns", False),
            column("feature_version", pa.string(), "recipe of the features; vectors of two recipes compare not", False),
            column("features", pa.binary(), "sealed: the vector, little-endian float32"),
            column("appended_at", INSTANT, "when the broker appended the image", False),
            column("computed_at", INSTANT, "when the features were computed", False),
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
            column("id", pa.string(), "image id, 26 characters", False),
            column("day", pa.date32(), "day of the image", False),
            column("key", pa.string(), "data key that opens the sealed columns", False),
            column("split", pa.string(), "train, validation or test", False),
            column("feature_version", pa.string(), "recipe of the features", False),
            column("features", pa.binary(), "sealed: the vector, little-endian float32"),
            column("label", pa.binary(), "sealed: the label, UTF-8"),
            column("made_at", INSTANT, "when this set was made", False),
        ]
    ),
    statistics=("id", "split", "made_at"),
    sealed=("features", "label"),
    checks={"known_splits": "split IN ('train', 'validation', 'test')"},
)

LABEL_TRUST = TableSpec(
    name="recognition/label_trust",
    description="Whose labels are believed: verdicts on uploaders' pseudonyms, of each the newest counts.",
    schema=pa.schema(
        [
            column("day", pa.date32(), "day of the pseudonym, and of its images", False),
            column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            column("trusted", pa.bool_(), "false: the training set leaves this uploader's labels out", False),
            column("rows", pa.int64(), "labels that were judged", False),
            column("contradicted", pa.int64(), "of them, those that the judge was sure are wrong", False),
            column("judge", pa.string(), "who judged: a champion, the other uploaders, or a person", False),
            column("who", pa.string(), "run or person that decided", False),
            column("why", pa.string(), "the reason given", False),
            column("decided_at", INSTANT, "when", False),
        ]
    ),
    statistics=("pseudonym", "decided_at"),
)

RECOGNISED_IMAGES = TableSpec(
    name="recognition/recognised_images",
    description="What champions named each image, one row per image id and model version.",
    schema=pa.schema(
        [
            column("id", pa.string(), "image id, 26 characters", False),
            column("day", pa.date32(), "day of the image", False),
            column("pseudonym", pa.string(), "uploader's pseudonym on that day", False),
            column("key", pa.string(), "data key that opens the sealed columns", False),
            column("model", pa.string(), "name of the registered model", False),
            column("model_version", pa.string(), "its version in the registry, @, begin of its run's id", False),
            column("label", pa.binary(), "sealed: what the model named it, UTF-8"),
            column("probability", pa.float64(), "how probable the model holds its answer, 0 to 1", False),
            column("lane", pa.string(), "who scored it: batch, or stream (sub-second)", False),
            column("scored_at", INSTANT, "when it was scored", False),
            *_ORIGIN,
        ]
    ),
    statistics=("id", "model", "model_version", "topic_id", "partition", "offset", "probability", "scored_at"),
    sealed=("label",),
    checks={"probabilities": "probability >= 0 AND probability <= 1"},
)

RECOGNITION_QUALITY = TableSpec(
    name="recognition/recognition_quality",
    description="How each champion does on each day: labels named right, drift of features; counts only.",
    schema=pa.schema(
        [
            column("day", pa.date32(), "day of the images", False),
            column("model", pa.string(), "name of the registered model", False),
            column("model_version", pa.string(), "the champion, as in recognised_images", False),
            column("named", pa.int64(), "images of the day that it has named", False),
            column("labelled", pa.int64(), "images with a label that it did not learn from", False),
            column("labelled_right", pa.int64(), "of them, named as the label says", False),
            column("drift", pa.float64(), "population stability index of the features; null where it was not measured"),
            column("developed", pa.int64(), "images of the day, of all kinds", False),
            column("near_duplicates", pa.int64(), "of them, those that look like an earlier one", False),
            column("computed_at", INSTANT, "when this row was computed", False),
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
    LABEL_TRUST,
    RECOGNISED_IMAGES,
    LABEL_CORRECTIONS,
    RECOGNISED_STREAM,
    RECOGNITION_QUALITY,
    *SHOP_TABLES,
)
"""Every table; those of the group `images` are what the live lane writes."""
