"""Photos from files to the network's size, the good ones apart from the bad."""

import dataclasses
import functools
import io
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from qlrjax import files
from qlrjax.names import printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
# Pillow has more, whatever a file is called; one of them hands files to another program.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
# Cameras write these; they are named instead of passed over.
UNSUPPORTED = {
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".jxl": "JPEG XL",
    ".dng": "a raw format",
    ".cr2": "a raw format",
    ".cr3": "a raw format",
    ".nef": "a raw format",
    ".arw": "a raw format",
    ".svg": "SVG",
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_MEGAPIXELS_AT_MOST = 100
_FILE_BYTES_AT_MOST = 512 * 2**20
_NAMED_AT_MOST = 5
_ORIENTATION = 0x0112
# What Pillow raises on damaged files: some decoders let the error of a parser through.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError),
    *(AttributeError, AssertionError, RuntimeError, MemoryError, struct.error),
    Image.DecompressionBombError,
)


@dataclasses.dataclass(frozen=True)
class Bad:
    """A photo that could not be read.

    Attributes:
        path: The file.
        reason: One sentence that names it.
    """

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class Photos:
    """Photos that could be read, and those that could not.

    Attributes:
        paths: Of the good ones.
        images: uint8[n, h, w, 3] of the good ones, in the same order.
        bad: The others.
    """

    paths: tuple[Path, ...]
    images: UInt8[np.ndarray, "n h w 3"]
    bad: tuple[Bad, ...]


def read_all(
    paths: Sequence[Path],
    resolution: tuple[int, int],
    strict: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Photos:
    """All photos of folders and files; a folder's folders are looked into, too.

    Args:
        paths: Files and folders.
        resolution: (height, width) in pixels.
        strict: One bad photo is an error; otherwise it is left out, and told.
        on_progress: Called with (what, done, total).

    Raises:
        ValueError: There are no photos, or none that can be read; or a bad one, if that is strict.
    """
    found = [file for path in paths for file in find_photos(path)]
    if not found:
        raise ValueError("no photos were given; name photos or folders of them")
    good, images, bad = [], [], []
    for done, file in enumerate(found, start=1):
        try:
            images.append(read_photo(file, resolution))
            good.append(file)
        except ValueError as error:
            if strict:
                raise
            bad.append(Bad(file, str(error)))
        if on_progress:
            on_progress("photos", done, len(found))
    if not good:
        raise ValueError(
            bad[0].reason
            if len(bad) == 1
            else f"none of the {len(bad)} photos can be read: {name_bad(bad)}"
        )
    return Photos(tuple(good), np.stack(images), tuple(bad))


def name_bad(bad: Sequence[Bad]) -> str:
    """Names bad photos in one line, the first few with the reason."""
    rest = len(bad) - _NAMED_AT_MOST
    return "; ".join(entry.reason for entry in bad[:_NAMED_AT_MOST]) + (
        f"; and {rest} more" if rest > 0 else ""
    )


def left_out(bad: Sequence[Bad], total: int) -> str:
    """What the user is told of bad photos that were passed over."""
    return f"{len(bad)} of {total} photos are left out: {name_bad(bad)}"


def read_photo(path: Path, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a photo: turned upright by EXIF, cropped to the aspect ratio, scaled.

    Args:
        path: Any format that Pillow reads; of several frames the first.
        resolution: (height, width) in pixels.

    Raises:
        ValueError: The file is missing, is no image, is damaged, is of a format that cannot be
            read, or has over 100 megapixels.
    """
    return decode(read_file(path), f"photo {printable(path)}", resolution)


def read_file(path: Path) -> bytes:
    """The bytes of a photo's file.

    Raises:
        ValueError: It is missing, or is not a file that can be read.
    """
    try:
        return files.read(path, _FILE_BYTES_AT_MOST)
    except FileNotFoundError as error:
        raise ValueError(f"there is no photo {printable(path)}") from error
    except OSError as error:
        raise ValueError(f"photo {printable(path)} cannot be read: {error.strerror}") from error


def decode(data: bytes, name: str, resolution: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Like `read_photo`, of a file's content.

    Args:
        data: The bytes of an image file.
        name: For error sentences, such as "photo mug.jpg".
        resolution: (height, width) in pixels.

    Raises:
        ValueError: It is no image, is damaged, or has over 100 megapixels.
    """
    return _opened(data, name, lambda image: _fit(image, resolution))


def check(data: bytes, name: str) -> None:
    """Raises the ValueError that `decode` would, for JPEGs in a fraction of its time."""

    def load(image: Image.Image) -> np.ndarray:
        image.draft("RGB", (16, 16))
        return _fit(image, (8, 8))

    _opened(data, name, load)


def _opened(data: bytes, name: str, use: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; here they are refused or read.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                large = image.width * image.height > _MEGAPIXELS_AT_MOST * 1_000_000
                if not large:
                    return use(image)
    except _DAMAGE as error:
        raise ValueError(_refusal(data, name, error)) from error
    raise ValueError(f"{name} has over {_MEGAPIXELS_AT_MOST} megapixels; scale it down first")


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _refusal(data: bytes, name: str, error: Exception) -> str:
    suffix = os.path.splitext(name)[1].lower()
    is_heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS
    if is_heif or suffix in UNSUPPORTED:
        kind = UNSUPPORTED.get(suffix, "HEIC") if not is_heif else "HEIC"
        return f"{name} is {kind}, which is not supported; convert it to JPEG or PNG"
    reason = " ".join(re.sub(r" ?<_io.BytesIO[^>]*>", "", str(error)).split())
    return f"{name} is damaged or is no image: {printable(reason, 200) or type(error).__name__}"


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
    """All image files in a folder and its folders, or the file itself, in natural order.

    Raises:
        ValueError: There are none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"there is no folder or photo {printable(folder)}")
    found = list(_walk(folder))
    if not found:
        raise ValueError(f"folder {printable(folder)} holds no images ({', '.join(SUFFIXES)})")
    return found


def _walk(folder: Path) -> Iterable[Path]:
    # Links to folders are not followed, so there is no way round in circles.
    inside = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    yield from (path for path in inside if is_photo(path))
    for path in inside:
        if path.name[0] != "." and path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def is_photo(path: Path) -> bool:
    """Whether a path looks like an image file; hidden files (macOS leaves some) do not.

    Formats that cannot be read count, too, so that they are named when they are not.
    """
    suffix = path.suffix.lower()
    known = suffix in SUFFIXES or suffix in UNSUPPORTED
    return known and path.name[0] != "." and path.is_file()


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts o2 before o10; names that differ never compare as equal."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
