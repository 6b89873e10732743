"""Photographs for benchmarks: JPEGs of 1 to 2 megapixels cut from scikit-learn's two sample photographs.

The sources have 640 x 427 pixels. Crops of several sizes are enlarged and given grain like a sensor's, so that they
compress like camera pictures (about 1.5 to 2.5 bits a pixel at quality 85), not like enlarged ones.
"""

from __future__ import annotations

import io

SIZES = ((1152, 864), (1280, 960), (1365, 1024), (1440, 1080), (1600, 1200))
QUALITY = 85
GRAIN = 3.0


def photographs(count: int = 40, seed: int = 11) -> list[bytes]:
    """`count` different JPEGs, the same ones for the same seed."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(seed)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    made = []
    for number in range(count):
        source, size = sources[number % len(sources)], SIZES[number % len(SIZES)]
        scale = generator.uniform(0.7, 1.0)
        width = int(min(source.width, source.height * size[0] / size[1]) * scale)
        height = int(width * size[1] / size[0])
        left, top = (int(generator.integers(0, room + 1)) for room in (source.width - width, source.height - height))
        crop = source.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
        grain = generator.normal(0, GRAIN, (size[1], size[0], 1))
        pixels = np.clip(np.asarray(crop, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
        target = io.BytesIO()
        Image.fromarray(pixels).save(target, "JPEG", quality=QUALITY)
        made.append(target.getvalue())
    return made
