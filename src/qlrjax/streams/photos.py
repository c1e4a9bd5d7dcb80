"""One photo from a file to the network's size."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PIXELS_AT_MOST = 100_000_000


def read_photo(path: Path, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a photo: turned upright by EXIF, cropped to the aspect ratio, scaled.

    Args:
        path: Any format that Pillow reads.
        resolution: (height, width) in pixels.

    Raises:
        ValueError: The file is missing, is no image, is damaged, or has over 100 megapixels.
    """
    height, width = resolution
    try:
        with Image.open(path) as image:
            if image.width * image.height > _PIXELS_AT_MOST:
                raise ValueError(f"photo {path} has over 100 megapixels; scale it down first")
            if image.size == (width, height) and image.getexif().get(0x0112, 1) == 1:
                return np.asarray(image.convert("RGB"))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError as error:
        raise ValueError(f"there is no photo {path}") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"photo {path} is damaged or is no image: {error}") from error
    return np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR))


def find_photos(folder: Path) -> list[Path]:
    """All image files directly in a folder, or the file itself, in natural order.

    Raises:
        ValueError: There are none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"there is no folder or photo {folder}")
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not found:
        raise ValueError(f"folder {folder} holds no images ({', '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts o2 before o10."""
    parts: list[tuple[int, int, str]] = []
    digits = text = ""
    for character in name + "\0":
        if character.isdigit():
            if text:
                parts.append((1, 0, text))
                text = ""
            digits += character
        else:
            if digits:
                parts.append((0, int(digits), ""))
                digits = ""
            text += character
    return [*parts, (1, 0, text)]
