"""Peer: ways to decode a JPEG file and bring it to a square of pixels, on two threads.

    python decode.py PHOTOS.txt OUT.json [--size PX] [--crop-fraction F] [--repeats N]
    python decode.py --versions

In: paths of JPEG files, one a line. Out: seconds by way and repeat, differences to Pillow, versions, as JSON. Files are
in memory before the clock starts. Every way ends with the same bicubic resize of the central square, by Pillow.
"""

import argparse
import io
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

THREADS = 2


def run(photos: str, *, size: int, crop_fraction: float, repeats: int) -> dict[str, Any]:
    """Decode all photos in every way, the ways taking turns; then compare the pixels, untimed."""
    import numpy as np
    import simplejpeg
    from PIL import Image

    # The short side that leaves the crop as large as the square: below it a scaled image would be enlarged again.
    needed = math.ceil(size / crop_fraction)

    def arrange(image: Any) -> Any:
        side = min(image.size) * crop_fraction
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))

    def pillow(data: bytes) -> Any:
        return arrange(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))

    def draft(data: bytes) -> Any:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
        image.draft("RGB", (needed, needed))
        return arrange(image.convert("RGB"))

    def simple(data: bytes) -> Any:
        return arrange(Image.fromarray(simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=False)))

    def scaled(data: bytes) -> Any:
        pixels = simplejpeg.decode_jpeg(
            data, colorspace="RGB", fastdct=False, min_height=needed, min_width=needed, min_factor=1
        )
        return arrange(Image.fromarray(pixels))

    ways = {"pillow": pillow, "pillow-draft": draft, "simplejpeg": simple, "simplejpeg-scaled": scaled}
    with open(photos, encoding="utf-8") as stream:
        names = stream.read().splitlines()
    files = []
    for name in names:
        with open(name, "rb") as file:
            files.append(file.read())
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with ThreadPoolExecutor(THREADS) as pool:
        for decode in ways.values():
            list(pool.map(decode, files[:8]))
        for _ in range(repeats):
            for way, decode in ways.items():
                start = time.perf_counter()
                for _ in pool.map(decode, files):
                    pass
                seconds[way].append(time.perf_counter() - start)
    differences: dict[str, dict[str, float]] = {}
    for way, decode in ways.items():
        gaps = [np.abs(decode(data).astype(int) - pillow(data)) for data in files[:: max(1, len(files) // 100)]]
        differences[way] = {"largest": int(max(gap.max() for gap in gaps)), "mean": float(np.mean(gaps))}
    shorts = [min(Image.open(io.BytesIO(data)).size) for data in files]
    return {
        "photos": len(files),
        "seconds": seconds,
        "differences": differences,
        "large_enough": sum(short >= 2 * needed for short in shorts),
        "needed_px": needed,
    }


def versions() -> dict[str, str]:
    """What was installed; imports it, so that a broken environment shows here."""
    import PIL.Image  # noqa: F401
    import simplejpeg  # noqa: F401

    return {name: version(name) for name in ("simplejpeg", "pillow", "numpy")}


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--size", type=int, default=260)
    parser.add_argument("--crop-fraction", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--versions", action="store_true")
    options = parser.parse_args()
    if options.versions:
        print(json.dumps(versions()))
        return
    found = run(options.photos, size=options.size, crop_fraction=options.crop_fraction, repeats=options.repeats)
    found["versions"] = versions()
    with open(options.out, "w", encoding="utf-8") as stream:
        json.dump(found, stream, indent=1)


if __name__ == "__main__":
    main()
