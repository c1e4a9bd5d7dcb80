"""A whole session whose folders, classes and files have any names."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from support import tiny

from qlrjax import cli
from qlrjax.runs import opened

WORDS = ("--sessions", "2", "--first-classes", "1", *tiny.NETWORK, *tiny.MEMORY)


def lay(root: Path, classes: list[str], file: str = "a") -> Path:
    """Photos of two sessions, each with all classes."""
    shade = 0
    for session in ("s1", "s2"):
        for name in classes:
            place = root / session / name
            place.mkdir(parents=True, exist_ok=True)
            for shot in range(4):
                shade += 17
                image = Image.new("RGB", (9, 9), (shade % 256, 99, 40 * shot))
                image.save(place / f"{file}{shot}.png")
    return root


def session(folder: str, classes: list[str], file: str) -> None:
    """Learns, goes on, asks, moves; everything has to go well."""
    scratch = Path(tempfile.mkdtemp())
    try:
        data = lay(scratch / "photos", classes, file)
        run = scratch / folder / "run"
        run.parent.mkdir(parents=True)
        state, moved = scratch / f"{folder}.npz", scratch / "moved" / folder
        for words in (
            ("run", "--out", run, "--data", data, *WORDS),
            ("run", "--out", run, "--no-contrast"),
            ("predict", run, data / "s1"),
            ("classes", run),
            ("export", run, "--format", "state", "--out", state),
            ("import", state, moved),
        ):
            assert cli.main([str(word) for word in words]) == 0, words
        for place in (run, moved):
            found = opened.open_run(place)
            assert not found.damage
            assert sorted(found.class_names) == sorted(classes)
    finally:
        shutil.rmtree(scratch)
