"""Files of others: zips and pickles that do what honest ones do not."""

import contextlib
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlrjax.streams import archive, core50

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_pickles_are_read(tmp_path_factory, value, protocol):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert archive.read_plain_pickle(path) == value


@given(data=st.binary(max_size=80), protocol=st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))
def test_arbitrary_bytes_are_plain_data_or_a_value_error(tmp_path_factory, data, protocol):
    path = tmp_path_factory.getbasetemp() / "bytes.pkl"
    path.write_bytes(protocol + data)
    value = None
    with contextlib.suppress(ValueError):  # anything else, or a call of anything, is a failure
        value = archive.read_plain_pickle(path)
    assert type(value).__module__ == "builtins"


@pytest.mark.parametrize(
    "value", [np.int64(3), np.arange(3), complex(1, 2), zipfile.ZipFile, print], ids=str
)
def test_pickles_that_name_anything_are_refused(tmp_path, value):
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(archive.UntrustedData, match="plain data does not"):
        archive.read_plain_pickle(tmp_path / "p.pkl")


def test_a_few_bytes_cannot_ask_for_a_table_of_gigabytes(tmp_path):
    import tracemalloc

    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".")
    tracemalloc.start()
    assert archive.read_plain_pickle(path) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_pickles_over_the_cap_are_not_opened(tmp_path):
    with (tmp_path / "p.pkl").open("wb") as file:
        file.truncate(256 * 2**20 + 1)
    with pytest.raises(archive.UntrustedData, match="larger than any"):
        archive.read_plain_pickle(tmp_path / "p.pkl")


def write_zip(path, names, content=b"x"):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that comes twice
                file.writestr(info, content)
    return path


FRAME = "core50_128x128/s1/o1/C_01_01_000.png"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../s1/o1/C_01_01_000.png"], "outside"),
        (["/s1/o1/C_01_01_000.png"], "outside"),
        (["C:/s1/o1/C_01_01_000.png"], "outside"),
        (["a/../../s1/o1/C_01_01_000.png"], "outside"),
        ([FRAME, FRAME], "twice"),
        ([FRAME, "other/s1/o1/C_01_01_000.jpg"], "one frame twice"),
        (["s1/o2/C_01_01_000.png"], "does not fit its folder"),
        (["xs1/o1/C_01_01_000.png", "s1/o1/._C_01_01_000.png"], "holds no frames"),
    ],
)
def test_zips_are_checked_before_a_frame_is_read(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        core50.source(write_zip(tmp_path / "z.zip", names), (8, 8), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def overlapping(path, members):
    """A zip whose central directory names one member many times over, at shifted places."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("C_01_01_000.png", bytes(2**20))
        info = file.infolist()[0]
        for number in range(1, members):
            copy = zipfile.ZipInfo(f"s1/o1/C_01_01_{number:03d}.png")
            for name in ("compress_type", "compress_size", "file_size", "CRC"):
                setattr(copy, name, getattr(info, name))
            copy.compress_size *= 8  # so that each looks like 25 to 1
            copy.header_offset = info.header_offset + number % 7
            file.filelist.append(copy)
    return path


def test_members_that_share_their_bytes_are_refused_before_one_is_unpacked(tmp_path):
    """1 MB of such a zip would unpack to gigabytes, each member of it modest."""
    path = overlapping(tmp_path / "z.zip", 60)
    assert path.stat().st_size < 10_000
    with pytest.raises(archive.UntrustedData, match="they lie in one place"):
        core50.find_frames(path)


def test_numbers_that_no_data_has_are_refused(tmp_path):
    """Every object up to the last is a class: 999,999,999 of them took 15 GB."""
    for name in (
        "s1/o999999999/C_01_999999999_000.png",
        "s10001/o1/C_10001_01_000.png",
        f"s1/o1/C_01_01_{2**31}.png",
    ):
        with pytest.raises(ValueError, match="has a number that no such data has"):
            core50.find_frames(write_zip(tmp_path / "z.zip", [name]))


def test_no_zip_at_all(tmp_path):
    (tmp_path / "z.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="no readable zip"):
        core50.find_frames(tmp_path / "z.zip")


def test_damage_inside_a_zip_is_named(tmp_path):
    path = write_zip(tmp_path / "z.zip", [FRAME], b"content that has a checksum")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"content", b"CONTENT"))
    with pytest.raises(ValueError, match=r"C_01_01_000\.png is damaged"):
        core50.source(path, (8, 8), tmp_path)
    encrypted = bytearray(data)
    for marker, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[data.index(marker) + offset] |= 1
    path.write_bytes(bytes(encrypted))
    with pytest.raises(ValueError, match=r"C_01_01_000\.png cannot be read"):
        core50.source(path, (8, 8), tmp_path)
