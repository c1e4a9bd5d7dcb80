"""A whole session through the command line in about a second, once its programs are compiled."""

import hashlib
import stat
from pathlib import Path

import numpy as np
from PIL import Image

from qlrjax import cli

NETWORK = ("--weights", "random:0:0.25", "--resolution", "32", "--latent-layer", "25")
MEMORY = ("--replays", "24", "--bits", "7", "--no-contrast")
WORDS = ("--data", "synthetic:5x3x6", *NETWORK, *MEMORY)


def run(folder: Path, *more: str) -> int:
    """`qlrjax run` of the session into a folder; its exit code."""
    return cli.main(["run", "--out", str(folder), *WORDS, *more])


def photos(folder: Path, count: int = 3, seed: int = 0) -> Path:
    """A folder of small photos."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """What lies in a folder, links not followed: digests of files, targets of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[name] = f"link to {path.readlink()}"
        elif stat.S_ISREG(mode):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if stat.S_ISDIR(mode) else "something else"
    return found
