"""How the C kernel is built, kept and done without: each case in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qlrjax.integer.native import LIBRARY
from qlrjax.native import build
from qlrjax.training import kernels

SHOW = """
from qlrjax.integer.native import LIBRARY
from qlrjax.native import description, load
kernel = load(LIBRARY)
print(description(LIBRARY))
print(kernel.path if kernel else "none")
"""

LIBRARIES = {"frozen stage": LIBRARY, "training": kernels.LIBRARY}
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


def start(cache, script=SHOW, **variables):
    environment = {**os.environ, "QLRJAX_CACHE": str(cache), "QLRJAX_FROZEN": "auto", **variables}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert not error
    return out.splitlines()


@needs_compiler
def test_built_once_and_kept_while_many_start_together(tmp_path):
    together = [start(tmp_path) for _ in range(3)]
    answers = [said(process) for process in together]
    assert all(words.startswith("C kernel with ") for words, _ in answers)
    libraries = list((tmp_path / "native").glob("*/stage.so"))
    assert len(libraries) == 1
    assert {path for _, path in answers} == {str(libraries[0])}
    assert [path.name for path in (tmp_path / "native").iterdir()] == [libraries[0].parent.name]
    before = libraries[0].stat().st_mtime_ns
    said(start(tmp_path))
    assert libraries[0].stat().st_mtime_ns == before


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache with a library in it."""
    cache = tmp_path_factory.mktemp("kept")
    said(start(cache))
    return cache


@needs_compiler
@pytest.mark.parametrize("damage", ["truncated", "changed", "no digest"])
def test_a_damaged_library_is_built_again(tmp_path, kept, damage):
    shutil.copytree(kept / "native", tmp_path / "native")
    (library,) = (tmp_path / "native").glob("*/stage.so")
    whole = library.read_bytes()
    if damage == "truncated":
        library.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        library.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    else:
        (library.parent / "sha256").unlink()
    words, again = said(start(tmp_path))
    assert words.startswith("C kernel with ")
    assert Path(again).read_bytes() == whole


@needs_compiler
def test_a_cache_that_others_can_write_to_is_not_trusted(tmp_path):
    (tmp_path / "native").mkdir()
    (tmp_path / "native").chmod(0o777)
    words, path = said(start(tmp_path))
    assert words.startswith("C kernel with ")
    assert path == "None"
    assert not list((tmp_path / "native").iterdir())


@needs_compiler
@pytest.mark.parametrize("cache", ["off", "/proc/nowhere"])
def test_no_cache_builds_for_the_process_alone(cache):
    words, path = said(start(cache))
    assert words.startswith("C kernel with ")
    assert path == "None"


def test_without_a_compiler_pure_jax_is_used_in_silence(tmp_path):
    (tmp_path / "empty").mkdir()
    words, path = said(start(tmp_path, PATH=str(tmp_path / "empty"), CC=""))
    assert words == "pure JAX: no C compiler (cc, gcc, clang) is installed"
    assert path == "none"


def test_a_compiler_that_fails_is_named(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'stage.c:1: no such machine' >&2\nexit 1\n")
    broken.chmod(0o755)
    words, _ = said(start(tmp_path, CC=str(broken)))
    assert words == f"pure JAX: the C compiler {broken} fails: stage.c:1: no such machine"


@pytest.mark.parametrize("what", LIBRARIES)
def test_asking_for_c_says_why_it_cannot_be(monkeypatch, what):
    library = LIBRARIES[what]
    monkeypatch.setenv(library.variable, "c")
    monkeypatch.setattr(build, "_load_once", lambda _: build.Unavailable("no compiler"))
    with pytest.raises(build.Unavailable, match="no compiler"):
        build.load(library)
    monkeypatch.setenv(library.variable, "fast")
    with pytest.raises(ValueError, match=f"{library.variable} is 'fast'; use auto, c or jax"):
        build.load(library)
