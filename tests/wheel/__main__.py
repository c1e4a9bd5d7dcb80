"""`make wheel-test`: the wheel, installed in an empty environment elsewhere, runs every command."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = "--resolution 64 --train-per-class 12 --test-per-class 4 --replays 30 --no-contrast"
PHOTOS = """
import numpy as np, pathlib
from PIL import Image
random = np.random.default_rng(0)
for session in ("s1", "s2"):
    for name, colour in (("mug", 40), ("spoon", 210)):
        folder = pathlib.Path("photos") / session / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(colour - 40, colour + 40, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
"""
SWEEP = """
[settings]
resolution = 64
replays = 30
[settings.stream]
train_per_class = 12
test_per_class = 4
[grid]
bits = [8, 5]
"""
WHERE = """
import importlib.metadata, pathlib, sys
import pulpsim, qlrjax
assert all(pathlib.Path(m.__file__).is_relative_to(sys.prefix) for m in (qlrjax, pulpsim))
assert importlib.metadata.version("qlrjax")
"""
# Every command with what must have been written or printed afterwards.
COMMANDS = (
    ("--version", r"\d+\.\d+"),
    ("info", "frozen stage"),
    (f"run --out run {TINY}", None),
    ("network efficientnet_lite0", "b15/project"),
    ("data check photos", "mug"),
    ("learn run --label mug photos/s1/mug", None),
    ("predict run photos/s2/mug/0.png", "mug"),
    ("evaluate run photos", "mug"),
    ("classes run", "mug"),
    ("classes run undo", None),
    ("export run --format onnx --out stage.onnx", "stage.onnx"),
    ("export run --format qdq --out qdq.onnx", "qdq.onnx"),
    ("export run --format firmware --target cortex-m4f --out firmware", "firmware"),
    ("export run --format c --out c", "c"),
    ("export run --format npz --out stage.npz", "stage.npz"),
    ("export run --format state --out state.tar", "state.tar"),
    ("import state.tar moved", None),
    ("predict moved photos/s2/mug/0.png", None),
    ("sweep sweep.toml --out sweep --workers 2", "sweep/table.csv"),
    ("report run --out report.html", "report.html"),
    ("plan --accuracies sweep --memory 64MB", "recommended: layer 27"),
    ("hw event --platform vega --latent-layer 27 --statistics running", "frozen"),
    ("hw event --network resnet8 --cut b2/add --replays 100", "frozen"),
    ("hw layer 26 --platform pulp-open", None),
    ("hw compare vega stm32l4 --latent-layers 27", "stm32l4"),
    ("hw kernel p1_2x4 --shape 32x64x64", "p1_2x4"),
)


def main() -> int:
    """Prints a line a step; an exit code other than 0 says which failed."""
    with tempfile.TemporaryDirectory() as scratch:
        place, began = Path(scratch), time.monotonic()
        python = install(place)
        print(f"wheel built and installed in {time.monotonic() - began:.0f} s", flush=True)
        work = place / "work"
        work.mkdir()
        call([python, "-c", WHERE], work)
        call([python, "-c", PHOTOS], work)
        (work / "sweep.toml").write_text(SWEEP)
        command = python.parent / "qlrjax"
        usage = call([command, "--help"], work)
        named = set(re.findall(r"^  qlrjax ([\w-]+)", usage, re.MULTILINE))
        missing = named - {words.split()[0] for words, _ in COMMANDS}
        assert not missing, f"not tried: {missing}"
        for words, expected in COMMANDS:
            began = time.monotonic()
            printed = call([command, *words.split()], work)
            if expected:
                found = re.search(expected, printed) or (work / expected).exists()
                assert found, f"qlrjax {words}: no {expected!r} in\n{printed}"
            print(f"{time.monotonic() - began:5.1f} s  qlrjax {words}", flush=True)
    print(f"{len(COMMANDS)} passed, 0 failed")
    return 0


def install(place: Path) -> Path:
    """The Python of a new environment with the wheel, two of its extras and the tested versions."""
    python = place / "venv" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    if shutil.which("uv"):
        call(["uv", "build", "--wheel", "--out-dir", place, ROOT], place)
        call(["uv", "venv", "--python", sys.executable, place / "venv"], place)
        pip = ["uv", "pip", "install", "--python", python]
    else:
        quiet = ["--disable-pip-version-check", "--quiet"]
        wheel = [sys.executable, "-m", "pip", "wheel", *quiet, "--no-deps", "--wheel-dir", place]
        call([*wheel, ROOT], place)
        call([sys.executable, "-m", "venv", place / "venv"], place)
        pip = [python, "-m", "pip", "install", *quiet]
    (wheel,) = place.glob("qlrjax-*.whl")
    call([*pip, "--constraint", constraints, f"qlrjax[onnx,report] @ {wheel.as_uri()}"], place)
    return python


def call(words: Sequence[str | Path], folder: Path) -> str:
    """What a command printed; it must end with 0, and nothing of this clone is on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], cwd=folder, env=clean, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
