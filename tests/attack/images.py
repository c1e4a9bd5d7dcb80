"""Fuzzed images for every decoder: pixels of the right size, or one sentence.

A decoder in C that crashes takes its process along; so this runs in processes of its own, and a
process that a signal ends counts as a traceback.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from qlrjax.streams import photos

SECONDS_AT_MOST = 20


def samples() -> Iterator[tuple[str, bytes]]:
    """Small images in every format that people have, and in some that are never decoded."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    pixels[4:15, 6:20] = 70
    colour = Image.fromarray(pixels)
    grey = Image.fromarray((generator.integers(0, 2**16, (23, 31))).astype(np.uint16))
    more = {"append_images": True}
    yield from (
        ("png", _saved(colour, "PNG")),
        ("png", _saved(colour.convert("P"), "PNG", transparency=3)),
        ("png", _saved(grey, "PNG")),
        ("jpeg", _saved(colour, "JPEG")),
        ("jpeg", _saved(colour, "JPEG", progressive=True, quality=20)),
        ("jpeg", _saved(colour.convert("CMYK"), "JPEG")),
        ("jpeg", _saved(_turned(colour), "JPEG", exif=_turned(colour).getexif())),
        ("mpo", _saved(colour, "MPO", **more)),
        ("gif", _saved(colour, "GIF", **more)),
        ("bmp", _saved(colour, "BMP")),
        ("bmp", _saved(colour.convert("1"), "BMP")),
        ("tiff", _saved(colour, "TIFF", **more)),
        ("tiff", _saved(colour, "TIFF", compression="tiff_lzw")),
        ("tiff", _saved(colour, "TIFF", compression="jpeg")),
        ("tiff", _saved(colour, "TIFF", compression="tiff_adobe_deflate")),
        ("webp", _saved(colour, "WEBP")),
        ("webp", _saved(colour, "WEBP", lossless=True)),
        ("webp", _saved(colour, "WEBP", **more)),
    )
    if features.check("avif"):
        yield "avif", _saved(colour, "AVIF")
        yield "avif", _saved(colour, "AVIF", **more)
    # Pillow knows these, too; photos are never read as them.
    for name in ("EPS", "ICO", "PCX", "TGA", "PPM", "PDF", "JPEG2000", "DDS", "SGI"):
        yield name.lower(), _saved(colour, name)


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    # Pillow leaves traces of the last format in an image, so that each is a copy.
    if "append_images" in options:
        options = {"save_all": True, "append_images": [image.rotate(180)]}
    image.copy().save(buffer, name, **options)
    return buffer.getvalue()


def _turned(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.getexif()[0x0112] = 6
    return image


def fuzzed(data: bytes, generator: np.random.Generator) -> bytes:
    """A few bytes are others, gone, or there twice; often near the front, where headers are."""
    broken = bytearray(data)
    for _ in range(int(generator.integers(1, 6))):
        if not broken:
            break
        reach = len(broken) if generator.random() < 0.5 else min(len(broken), 64)
        place = int(generator.integers(reach))
        match int(generator.integers(6)):
            case 0:
                broken[place] ^= 1 << int(generator.integers(8))
            case 1:
                broken[place] = (0, 255, 127, 128)[int(generator.integers(4))]
            case 2:
                broken[place : place + 4] = generator.bytes(4)
            case 3:
                del broken[place : place + int(generator.integers(1, 40))]
            case 4:
                broken[place:place] = broken[place : place + int(generator.integers(1, 40))]
            case _ if generator.random() < 0.3:
                del broken[place:]
            case _:
                broken[place] = int(generator.integers(256))
    return bytes(broken)


def one(number: int, seed: int, kinds: list[tuple[str, bytes]]) -> str:
    """The outcome for one image: its kind and what came of it."""
    generator = np.random.default_rng([seed, number])
    kind, data = kinds[number % len(kinds)]
    started = time.monotonic()
    try:
        pixels = photos.decode(fuzzed(data, generator), f"photo {number}.{kind}", (32, 32))
    except ValueError as error:
        plain = "\n" not in str(error) and str(error).isprintable()
        return f"{kind} {'caught' if plain else 'silent'}"
    except BaseException as error:
        return f"{kind} traceback {error!r}"[:200]
    if time.monotonic() - started > SECONDS_AT_MOST:
        return f"{kind} traceback took too long"
    right = pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
    return f"{kind} {'harmless' if right else 'silent'}"


def attack(count: int, seed: int) -> list[tuple[str, str]]:
    """Outcome of every image, and what identifies it."""
    outcomes: list[tuple[str, str]] = []
    while len(outcomes) < count:
        begin = len(outcomes)
        words = [sys.executable, "-m", "attack.images", "--seed", seed]
        words += ["--begin", begin, "--end", min(begin + 2000, count)]
        with subprocess.Popen(map(str, words), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                kind, outcome, *rest = json.loads(line).split(" ", 2)
                outcomes.append((outcome, f"image {len(outcomes)}, {kind} {' '.join(rest)}"))
        if process.returncode != 0 and len(outcomes) == begin and begin == 0:
            raise RuntimeError("not one image could be tried")
        if process.returncode != 0:
            outcomes.append(("traceback", f"image {len(outcomes)} ends {process.returncode}"))
    return outcomes


def main() -> None:
    """A part of the attack, a line of JSON an image."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--seed", "--begin", "--end"):
        parser.add_argument(name, type=int, required=True)
    arguments = parser.parse_args()
    kinds = list(samples())
    for number in range(arguments.begin, arguments.end):
        print(json.dumps(one(number, arguments.seed, kinds)), flush=True)


if __name__ == "__main__":
    main()
