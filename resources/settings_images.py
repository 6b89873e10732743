"""Settings of the images themselves: how large, how many at once, and how they land."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

MEBIBYTE = 1024 * 1024


class ImageSettings(BaseModel):
    """A part of `resources.settings.Settings`."""

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
