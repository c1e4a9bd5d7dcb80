"""The exported folder under every compiler and analyser, and as a stranger builds and uses it."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import boards, firmware

from qlrjax import cli
from qlrjax.export.firmware import target as firmware_target

pytestmark = boards.NEEDED
STRICT = "-O3 -std=c99 -ffp-contract=off -Wall -Wextra -Wconversion -Wshadow -Wpedantic -Werror"
RUN = (
    "run",
    "--data",
    "synthetic:5x3x6",
    "--weights",
    "random:0:0.25",
    "--resolution",
    "32",
    "--latent-layer",
    "27",
    "--replays",
    "12",
    "--no-contrast",
)
# What an Arduino core gives: enough of it for a compiler to read the sketch.
ARDUINO = """
#include <stddef.h>
#include <stdint.h>
struct Line {
  void begin(unsigned long) {}
  void print(const char *) {}
  int available() { return 1; }
  int read() { return 0; }
  size_t write(const uint8_t *, size_t count) { return count; }
} Serial;
"""


def twin():
    protocol = firmware.PROTOCOL
    return firmware.Twin(cut=25, bits=6, size=(33, 33), protocol=protocol)


def triple(folder):
    """What the folder's Makefile says clang wants."""
    return re.search(r"TARGET=(\S+)", (folder / "Makefile").read_text()).group(1)


def learns_as_jax(one, name, folder):
    with boards.running(name, folder) as device:
        firmware.run_events(device, one, [one.random.integers(0, 5, size) for size in (14, 12)])
        whole, floats = firmware.differences(device, one.arrays())
    assert whole == 0
    assert max(floats[part] for part in ("layers", "mean", "deviation", "center", "head")) < 1e-4


@pytest.mark.parametrize("name", ["mps2-an386", "rv32-virt"])
def test_gcc_does_not_warn(name, tmp_path):
    boards.need("make", firmware_target.load(name).compiler)
    twin().export(tmp_path, name)
    firmware.make(tmp_path, f"CFLAGS={STRICT}")


@pytest.mark.parametrize("name", ["mps2-an386", "rv32-virt"])
def test_clang_does_not_warn_and_its_program_learns(name, tmp_path):
    boards.need("make", "clang", firmware_target.load(name).compiler)
    one = twin()
    one.export(tmp_path, name)
    firmware.make(tmp_path, "CC=clang", f"TARGET={triple(tmp_path)}", f"CFLAGS={STRICT}")
    learns_as_jax(one, name, tmp_path)


@pytest.mark.parametrize("name", ["mps2-an386", "rv32-virt"])
def test_cmake_builds_a_program_that_learns(name, tmp_path):
    """By the command at the top of CMakeLists.txt."""
    boards.need("cmake", "make", firmware_target.load(name).compiler)
    one = twin()
    one.export(tmp_path, name)
    lines = (tmp_path / "CMakeLists.txt").read_text().splitlines()
    said = next(line for line in lines if "cmake -B" in line).lstrip("# ")
    for command in said.split(" && "):
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    learns_as_jax(one, name, tmp_path)


def test_static_analysis_finds_nothing(tmp_path):
    """GCC's analyser as errors, and cppcheck."""
    boards.need("gcc", "cppcheck")
    twin().export(tmp_path)
    sources = sorted((tmp_path / "src").glob("*.c"))
    for path in sources:
        words = ["gcc", "-std=c99", "-O2", "-fanalyzer", "-Werror", "-c", path, "-o", os.devnull]
        subprocess.run(words, check=True)
    checks = "--std=c99 --enable=warning,performance,portability --error-exitcode=1 -q"
    subprocess.run(
        ["cppcheck", *checks.split(), *(one for one in sources if one.stem != "qlr_tables")],
        check=True,
    )


def test_nothing_is_linked_but_memory_and_mathematics(tmp_path):
    """No heap; __aeabi_ is the compiler's arithmetic."""
    boards.need("make", "arm-none-eabi-gcc")
    boards.build(twin(), "mps2-an386", tmp_path)
    objects = sorted((tmp_path / "build/src").glob("*.o"))
    listed = subprocess.run(
        ["arm-none-eabi-nm", *objects], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    wanted = {row[1] for row in rows if row[:1] == ["U"]}
    others = {name for name in wanted if not name.startswith(("qlr_", "__aeabi_"))}
    assert others <= {"memcpy", "memset", "expf", "logf", "sqrtf"}


def test_an_arduino_library_with_its_sketch(tmp_path):
    """library.properties, src/ in C, and an example in C++ that reads qlr.h."""
    boards.need("g++")
    twin().export(tmp_path, "cortex-m4f")
    said = (tmp_path / "library.properties").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in said)
    assert facts["name"] == "qlr"
    assert (tmp_path / "src" / facts["includes"]).is_file()
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    words = ["g++", "-std=gnu++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++"]
    words += ["-include", tmp_path / "Arduino.h", f"-I{tmp_path}/src"]
    subprocess.run([*words, tmp_path / "examples/learner/learner.ino"], check=True)


def test_three_commands_from_a_run_to_a_learning_board(tmp_path, capsys):
    """Export, and what it prints: build, and teach an emulated board."""
    boards.need("make", "arm-none-eabi-gcc", "qemu-system-arm")
    run, out = tmp_path / "run", tmp_path / "firmware"
    assert cli.main([*RUN, "--out", str(run)]) == 0
    capsys.readouterr()
    words = ["export", str(run), "--format", "firmware", "--out", str(out)]
    assert cli.main([*words, "--event-images", "12"]) == 0
    printed = capsys.readouterr().out
    random = np.random.default_rng(0)
    photos = []
    for index in range(12):
        photos.append(tmp_path / f"{index}.png")
        noise = random.integers(0, 60, (40, 32, 3)) + (index % 2) * 120
        Image.fromarray(noise.astype(np.uint8)).save(photos[-1])
    make = re.search(r"build it with +(.*)", printed).group(1)
    subprocess.run(shlex.split(make), check=True, stdout=subprocess.DEVNULL)
    teach = re.search(r"teach it with +(.*)", printed).group(1)
    begin = shlex.split(teach.partition(" teach ")[0])
    assert begin[0] == "python3"
    begin[0] = sys.executable  # which has Pillow
    dark, light = (list(map(str, photos[kind::2])) for kind in (0, 1))
    said = subprocess.run(
        [
            *begin,
            "teach",
            "0",
            *dark,
            "--",
            "teach",
            "1",
            *light,
            "--",
            "learn",
            "--",
            "predict",
            dark[0],
            light[0],
            "--",
            "save",
            "--",
            "info",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert "ok: " in said
    assert "save: ok" in said
    # What it learns is compared with JAX elsewhere; here it learns at all, and answers.
    first, last = re.search(r"mini-batches, loss ([\d.]+) to ([\d.]+)", said).groups()
    assert float(last) < float(first)
    assert len(re.findall(r"class [0-4], logit", said)) == 2
    # An error ends the emulator, which make has started, too: else this would wait for ever.
    wrong = [*begin, "teach", "0", str(tmp_path / "none.png")]
    ended = subprocess.run(wrong, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ended.returncode != 0
    assert "none.png" in ended.stderr
