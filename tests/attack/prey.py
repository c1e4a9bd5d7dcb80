"""What is attacked: a finished run, its export, its answers; and how an attacked copy is judged."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK, Answer, call, perform
from support import tiny

from qlrjax.runs import lessons, opened
from qlrjax.runs import run as runs
from qlrjax.streams.photos import read_all

# Files of a run that people read and that no kill, damage or race may change.
READ = ("events.jsonl", "accuracy.csv", "summary.json", "settings.toml", "frozen.npz")


@dataclasses.dataclass(frozen=True)
class Prey:
    """A finished run and what it says.

    Attributes:
        place: The folder that all of this is in, and in which attacks may work.
        run: The run's folder; only copies of it are attacked.
        photos: Three photos.
        images: The same, at the network's size.
        export: The run as one file.
        answers: What the run says of the photos, as JSON.
        files: Contents of the files in READ.
    """

    place: Path
    run: Path
    photos: Path
    images: np.ndarray
    export: Path
    answers: str
    files: dict[str, bytes]

    def copy(self) -> Path:
        """A copy of the run to ruin; the one before is gone."""
        folder = self.place / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.run, folder))

    def ask(self, run: Path) -> Answer:
        """What a run says of the photos."""
        return perform(lambda: print(say(run, self.images)))

    def go_on(self, run: Path) -> Answer:
        """`qlrjax run --out RUN`."""

        def act() -> None:
            own = runs.own_settings(run)
            if own is None:
                raise ValueError("there is no run")
            for note in runs.run(own, run).notes:
                print(note, file=sys.stderr)

        return perform(act)


def say(run: Path, images: np.ndarray) -> str:
    """What `qlrjax predict` does: notes on standard error, and shares of all classes."""
    found = opened.open_run(run)
    for note in found.notes:
        print(note, file=sys.stderr)
    shares = lessons.probabilities(found.settings, found.extractor, found.state, images)
    rows = [dict(zip(found.class_names, row.round(6).tolist(), strict=True)) for row in shares]
    return json.dumps(rows)


def make(place: Path) -> Prey:
    """Learns the tiny session and exports it."""
    run, photos, export = place / "run", tiny.photos(place / "photos"), place / "run.npz"
    for words in (
        ("run", "--out", run, *tiny.WORDS),
        ("export", run, "--format", "state", "--out", export),
    ):
        done = call(*words, seconds=3600)  # programs are compiled, on a busy machine, too
        assert done.code == 0, done
    images = read_all([photos], (32, 32)).images
    answers = perform(lambda: print(say(run, images))).out
    files = {name: (run / name).read_bytes() for name in READ}
    return Prey(place, run, photos, images, export, answers, files)


def judge(prey: Prey, run: Path, goes_on: bool) -> str:
    """Asks an attacked run, and goes on with it if that is wanted.

    What it says has to be what it said before, unless it says that it is damaged; and when it has
    gone on, everything has to be what it was.
    """
    asked = prey.ask(run)
    calls = [asked]
    if goes_on:
        calls.append(prey.go_on(run))
    if any(answer.failure for answer in calls):
        return TRACEBACK
    told = any(answer.refused or answer.noticed for answer in calls)
    if asked.code == 0 and asked.out != prey.answers and not asked.noticed:
        return SILENT
    if goes_on and calls[-1].code == 0:
        wrong = [name for name in READ if (run / name).read_bytes() != prey.files[name]]
        again = prey.ask(run)
        if again.failure:
            return TRACEBACK
        if wrong or again.code != 0 or again.out != prey.answers:
            return SILENT
    return CAUGHT if told else HARMLESS
