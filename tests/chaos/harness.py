"""Runs a short real session through the command line, kills it, resumes it, compares the ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from qlrjax import checkpoint, run

SETTINGS = (
    "--data", "synthetic:5x3x6", "--weights", "random:0:0.25", "--resolution", "32",
    "--latent-layer", "25", "--replays", "24", "--bits", "7", "--no-contrast",
)  # fmt: skip
SAME_FILES = ("events.jsonl", "accuracy.csv", "summary.json", "frozen.npz", "settings.toml")


@dataclasses.dataclass(frozen=True)
class End:
    """What has to be equal bit for bit."""

    arrays: dict[str, np.ndarray]
    files: dict[str, bytes]

    def differences(self, other: "End") -> list[str]:
        """Names of leaves and files that differ."""
        names = sorted({*self.arrays, *other.arrays})
        differing = [
            name
            for name in names
            if name not in self.arrays
            or name not in other.arrays
            or self.arrays[name].dtype != other.arrays[name].dtype
            or self.arrays[name].tobytes() != other.arrays[name].tobytes()
        ]
        return differing + [n for n in SAME_FILES if self.files[n] != other.files[n]]


def start(folder: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """`qlrjax run` in a process of its own; compiled programs are shared through `cache`."""
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root / "hw")]),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "qlrjax.cli", "run", "--out", str(folder), *SETTINGS, *more]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(folder: Path, cache: Path) -> float:
    """Runs or resumes to the end and returns the seconds it took."""
    started = time.monotonic()
    process = start(folder, cache)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"exit code {process.returncode}: {errors[-2000:]}")
    return time.monotonic() - started


def read_end(folder: Path) -> End:
    """The last checkpoint's arrays, verified, and the files that people read."""
    found = checkpoint.read_newest(folder / run.CHECKPOINTS, lambda described: None)
    assert found is not None
    assert found[3] == (), f"damage after a kill: {found[3]}"
    return End(found[1], {name: (folder / name).read_bytes() for name in SAME_FILES})


def wait_for_save(process: subprocess.Popen[str], folder: Path, number: int) -> bool:
    """Until the save of checkpoint `number` has begun; False if the process ended before."""
    draft = folder / run.CHECKPOINTS / f".draft-{number:08d}"
    while process.poll() is None:
        if draft.exists():
            return True
        time.sleep(0.0005)
    return False


def wait_for_life(process: subprocess.Popen[str], folder: Path) -> None:
    """Until the process holds its folder: before that it has nothing to lose."""
    while process.poll() is None and not (folder / "run.lock").exists():
        time.sleep(0.001)


def kill(process: subprocess.Popen[str], seconds: float, number: int = signal.SIGKILL) -> bool:
    """Sends a signal after some seconds; False if the process ended before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.communicate()
        return process.returncode == -number or number != signal.SIGKILL
    process.communicate()
    return False


def check_stopped(folder: Path, reference: End) -> str:
    """What a kill left must be a beginning of the reference run; says where the kill struck."""
    steps = checkpoint.steps(folder / run.CHECKPOINTS)
    log = folder / run.EVENTS
    lines = log.read_bytes() if log.exists() else b""
    assert reference.files[run.EVENTS].startswith(lines), "the log is not a beginning of the log"
    assert lines == b"" or lines.endswith(b"\n")
    assert not steps or steps[-1] - lines.count(b"\n") in (0, 1)
    if any((folder / run.CHECKPOINTS).glob(".draft-*")):
        return "during a save"
    if any((folder / run.CHECKPOINTS).glob(".trash-*")):
        return "while an old checkpoint was removed"
    return "between saves" if steps else "before the first checkpoint"
