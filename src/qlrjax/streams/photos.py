"""One photo from a file to the network's size."""

import io
import re
import struct
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_MEGAPIXELS_AT_MOST = 100
_ORIENTATION = 0x0112
# What Pillow raises on damaged files: some decoders let the error of a parser through.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError,
           OverflowError, struct.error, Image.DecompressionBombError)  # fmt: skip


def read_photo(path: Path, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a photo: turned upright by EXIF, cropped to the aspect ratio, scaled.

    Args:
        path: Any format that Pillow reads.
        resolution: (height, width) in pixels.

    Raises:
        ValueError: The file is missing, is no image, is damaged, or has over 100 megapixels.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"there is no photo {path}") from error
    except OSError as error:
        raise ValueError(f"photo {path} cannot be read: {error.strerror}") from error
    return decode(data, f"photo {path}", resolution)


def decode(data: bytes, name: str, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Like `read_photo`, of a file's content.

    Args:
        data: The bytes of an image file.
        name: For error sentences, such as "photo mug.jpg".
        resolution: (height, width) in pixels.

    Raises:
        ValueError: It is no image, is damaged, or has over 100 megapixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; here they are refused or read.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                large = image.width * image.height > _MEGAPIXELS_AT_MOST * 1_000_000
                if not large:
                    return _fit(image, resolution)
    except _DAMAGE as error:
        reason = re.sub(r" ?<_io.BytesIO[^>]*>", "", str(error))
        raise ValueError(f"{name} is damaged or is no image: {reason}") from error
    raise ValueError(f"{name} has over {_MEGAPIXELS_AT_MOST} megapixels; scale it down first")


def fit(image: Image.Image, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of an upright image, cropped to the aspect ratio from its middle and scaled."""
    height, width = resolution
    colour = _to_rgb(image)
    if colour.size == (width, height):
        return np.asarray(colour)
    return np.asarray(ImageOps.fit(colour, (width, height), Image.Resampling.BILINEAR))


def _fit(image: Image.Image, resolution: tuple[int, int]) -> np.ndarray:
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return fit(image, resolution)
    return fit(ImageOps.exif_transpose(image), resolution)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit greys at 255 instead of scaling them.
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return image.convert("RGB")


def find_photos(folder: Path) -> list[Path]:
    """All image files directly in a folder, or the file itself, in natural order.

    Raises:
        ValueError: There are none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"there is no folder or photo {folder}")
    found = [path for path in folder.iterdir() if is_photo(path)]
    if not found:
        raise ValueError(f"folder {folder} holds no images ({', '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: natural(path.name))


def is_photo(path: Path) -> bool:
    """Whether a path looks like an image file; hidden files (macOS leaves some) do not."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts o2 before o10; names that differ never compare as equal."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
