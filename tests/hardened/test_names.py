"""Names are data: of folders, classes and files, whatever they look like."""

import os

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import named

from qlrjax import names

# Of one file or folder: any bytes but two, as Python shows them; short, as systems limit them.
ANY = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and len(os.fsencode(name)) < 200
)
RAW = (
    st.binary(min_size=1, max_size=40)
    .map(os.fsdecode)
    .filter(lambda name: "/" not in name and "\0" not in name and name not in (".", ".."))
)
FOLDERS = st.one_of(
    RAW,
    st.text("[]*?{}\\$^_%~#:'\" \n\t-=@!()é中", min_size=1, max_size=12).filter(
        lambda name: len(os.fsencode(name)) < 200
    ),
)


def usable(name: str) -> bool:
    try:
        names.check_class(name)
    except ValueError:
        return False
    return not name.startswith(".")


CLASSES = st.lists(
    st.one_of(ANY, st.sampled_from(["$x^$", "b$_$", "[b]x", "a[1]", "{}", "%s", "\\"])).filter(
        usable
    ),
    min_size=2,  # always two, so that all sessions share their compiled programs
    max_size=2,
    unique=True,
)


@pytest.mark.long
@hypothesis.settings(max_examples=2, suppress_health_check=list(hypothesis.HealthCheck))
@given(folder=FOLDERS, classes=CLASSES, file=FOLDERS)
@hypothesis.example(folder="run[2]", classes=["$x^$", "b$_$"], file="a[1]")
@hypothesis.example(folder="[/b]x", classes=["[b]x", "*"], file="%s{}")
@hypothesis.example(folder="(](![", classes=["a", "b"], file="x")  # two paths in one line: a tag
@hypothesis.example(folder="a\\", classes=["\\", "-h"], file="\\")
@hypothesis.example(folder="\udcff\udcfe", classes=["é", "中"], file="\udcff")
@hypothesis.example(folder="new\nline", classes=["a=b", "~"], file=" ")
def test_a_whole_session_under_any_names(folder, classes, file):
    named.session(folder, classes, file)


@pytest.mark.parametrize(
    "name", ["\udcff", "\x1b[31m", "a\nb", " ", "x" * 201, "\u202e", "\x00"[:0] + "\x7f"]
)
def test_a_class_that_could_not_be_shown_is_refused_before_anything_is_learned(
    tmp_path, refused, name
):
    data = named.lay(tmp_path / "photos", ["good", name])
    said = refused("run", "--out", tmp_path / "run", "--data", data, *named.WORDS)
    assert "is no name" in said or "has 201 characters" in said
    assert not (tmp_path / "run" / "checkpoints").exists()
    said = refused("data", "check", data)
    assert "is no name" in said or "has 201 characters" in said


def test_data_in_a_folder_whose_path_settings_cannot_hold_is_said_at_once(tmp_path, refused):
    data = named.lay(tmp_path / "\udcff", ["a", "b"])
    said = refused("run", "--out", tmp_path / "run", "--data", data, *named.WORDS)
    assert "is not UTF-8" in said
    assert not (tmp_path / "run").exists()
