"""Runs a short real session through the command line, kills it, resumes it, compares the ends."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from qlrjax.runs import checkpoint, run

SETTINGS = (
    "--data",
    "synthetic:5x3x6",
    "--weights",
    "random:0:0.25",
    "--resolution",
    "32",
    "--latent-layer",
    "25",
    "--replays",
    "24",
    "--bits",
    "7",
    "--no-contrast",
)
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


@dataclasses.dataclass(frozen=True)
class Stopped:
    """What a stopped process left behind.

    Attributes:
        steps: Of the checkpoints.
        log: The log of events.
        where: Where it was stopped, as far as its traces tell.
    """

    steps: list[int]
    log: bytes
    where: str

    def check(self, reference: End) -> None:
        """Raises AssertionError unless this is a beginning of the reference run."""
        assert reference.files[run.EVENTS].startswith(self.log), "not a beginning of the log"
        assert self.log == b"" or self.log.endswith(b"\n"), "a torn line"
        assert not self.steps or self.steps[-1] - self.log.count(b"\n") in (0, 1)


def stopped(folder: Path) -> Stopped:
    """Reads the traces of a stopped process, without changing them."""
    checkpoints, log = folder / run.CHECKPOINTS, folder / run.EVENTS
    steps = checkpoint.steps(checkpoints)
    where = "between saves" if steps else "before the first checkpoint"
    if any(checkpoints.glob(".trash-*")):
        where = "while an old checkpoint was removed"
    if any(checkpoints.glob(".draft-*")):
        where = "during a save"
    return Stopped(steps, log.read_bytes() if log.exists() else b"", where)
