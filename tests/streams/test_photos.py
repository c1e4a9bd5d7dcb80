"""Photos as people have them: turned, grey, 16 bits, transparent, huge, cut, or none at all."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qlrjax.streams import photos

# How the stored pixels of an upright image look under each EXIF orientation (EXIF 2.3, 4.6.4 A).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_every_exif_orientation_is_respected(tmp_path, orientation, suffix):
    upright = np.random.default_rng(0).integers(0, 256, (14, 22, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(photos.read_photo(path, (14, 22)), upright)


@pytest.mark.parametrize(("shape", "size"), [((30, 50), (10, 10)), ((51, 30), (12, 8))])
def test_photos_are_cropped_from_the_middle_and_never_stretched(tmp_path, shape, size):
    height, width = shape
    pixels = np.zeros((height, width, 3), np.uint8)
    side = min(height * size[1], width * size[0])
    rows, columns = side // size[1], side // size[0]
    top, left = (height - rows) // 2, (width - columns) // 2
    pixels[top : top + rows, left : left + columns] = 200
    Image.fromarray(pixels).save(tmp_path / "p.png")
    found = photos.read_photo(tmp_path / "p.png", size)
    assert (found[1:-1, 1:-1] == 200).all()
    assert found.min() > 100  # the filter of the outermost pixels reaches over the crop's edge


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (9, 7), 77), (77, 77, 77)),
        (Image.new("1", (9, 7), 1), (255, 255, 255)),
        (Image.new("RGBA", (9, 7), (1, 2, 3, 255)), (1, 2, 3)),
        (Image.new("LA", (9, 7), (50, 255)), (50, 50, 50)),
        (Image.new("RGB", (9, 7), (200, 10, 30)).quantize(4), (200, 10, 30)),
        (Image.fromarray(np.full((7, 9), 0x9A00, np.uint16)), (0x9A, 0x9A, 0x9A)),
    ],
    ids=["grey", "black-and-white", "alpha", "grey-alpha", "palette", "16-bit"],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path, image, expected):
    image.save(tmp_path / "p.png")
    pixels = photos.read_photo(tmp_path / "p.png", (7, 9))
    assert pixels.dtype == np.uint8
    assert (pixels == expected).all()


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


@pytest.mark.parametrize("side", [10_001, 15_000, 60_000])
def test_decompression_bombs_are_refused_from_their_header(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"bomb\.png"):
        photos.read_photo(tmp_path / "bomb.png", (8, 8))


def encoded(suffix):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, suffix, exif=exif)
    return file.getvalue()


FILES = {suffix: encoded(suffix) for suffix in ("JPEG", "PNG", "WEBP")}


@given(
    suffix=st.sampled_from(sorted(FILES)),
    cut=st.integers(0, 2_000),
    places=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=5),
)
def test_damage_is_a_value_error_and_nothing_else(suffix, cut, places):
    data = bytearray(FILES[suffix])
    for place, value in places:
        data[place % len(data)] = value
    with contextlib.suppress(ValueError):
        pixels = photos.decode(bytes(data[: max(1, len(data) - cut)]), "photo x", (10, 8))
        assert pixels.shape == (10, 8, 3)


@pytest.mark.parametrize("suffix", FILES)
def test_a_photo_that_is_cut_is_named(suffix):
    with pytest.raises(ValueError, match="photo mug is damaged or is no image"):
        photos.decode(FILES[suffix][: len(FILES[suffix]) // 2], "photo mug", (8, 8))
    with pytest.raises(ValueError, match="photo mug is damaged or is no image"):
        photos.decode(b"", "photo mug", (8, 8))


def test_folders_of_photos(tmp_path):
    for name in ("b10.JPG", "b9.png", "b09.webp", ".hidden.png", "notes.txt", "a.jpeg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    found = [path.name for path in photos.find_photos(tmp_path)]
    assert found == ["a.jpeg", "b9.png", "b09.webp", "b10.JPG"]
    assert photos.find_photos(tmp_path / "a.jpeg") == [tmp_path / "a.jpeg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        photos.find_photos(tmp_path / "empty")
    with pytest.raises(ValueError, match="there is no folder or photo"):
        photos.find_photos(tmp_path / "none")
    with pytest.raises(ValueError, match="there is no photo"):
        photos.read_photo(tmp_path / "none.jpg", (8, 8))
    with pytest.raises(ValueError, match="cannot be read"):
        photos.read_photo(tmp_path / "empty", (8, 8))


@given(names=st.lists(st.text("ab09²٣.", min_size=1, max_size=6), unique=True))
def test_natural_order_is_total(names):
    once = sorted(names, key=photos.natural)
    assert once == sorted(names[::-1], key=photos.natural)


@given(numbers=st.lists(st.integers(0, 10**20), unique=True))
def test_natural_order_follows_numbers(numbers):
    names = [f"o{number}" for number in numbers]
    assert sorted(names, key=photos.natural) == [f"o{number}" for number in sorted(numbers)]
