"""Links laid in a run's folder, and names that nobody expects."""

import os
import shutil

import numpy as np
from attack.prey import Prey
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK, Tally, call
from support import named, tiny

from qlrjax.names import check_class

Generator = np.random.Generator
LETTERS = [*"[]*?{}()\\$^_%~#:'\"!@=+-., \t\n", "\x1b", "\u202e", "é", "中", "\U0001f600", "\udcff"]


def links(prey: Prey) -> Tally:
    """Every file and folder of a run is a link in turn, to something that must not change."""
    tally = Tally("links")
    names = sorted(path.relative_to(prey.run) for path in prey.run.rglob("*"))
    for number, name in enumerate(names):
        run, away = prey.copy(), prey.place / "away"
        shutil.rmtree(away, ignore_errors=True)
        away.mkdir()
        (away / "mine.txt").write_text("mine")
        path = run / name
        target = (away / "mine.txt", away, away / "none")[number % 3]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.symlink_to(target)
        calls = [
            prey.go_on(run),
            call("learn", run, prey.photos, "--label", "mug"),
            call("export", run, "--format", "state"),
            call("run", "--out", run, *tiny.WORDS, "--fresh"),
        ]
        what = f"{name} to {target.name}: {[answer.err[-200:] for answer in calls]}"
        if any(answer.failure for answer in calls):
            tally.add(TRACEBACK, what)
        elif tiny.contents(away).keys() != {"mine.txt"} or _read(away) != "mine":
            tally.add(SILENT, what)
        else:
            tally.add(CAUGHT if any(a.refused or a.noticed for a in calls) else HARMLESS, what)
    return tally


def _read(away) -> str:
    return (away / "mine.txt").read_text()


def word(generator: Generator) -> str:
    """A name of 1 to 12 odd letters, no path."""
    while True:
        chosen = generator.choice(len(LETTERS), int(generator.integers(1, 13)))
        name = "".join(LETTERS[index] for index in chosen)
        if name not in (".", "..") and len(os.fsencode(name)) < 200:
            return name


def names(prey: Prey, count: int, generator: Generator) -> Tally:
    """Whole sessions under odd names; class names that cannot be shown are refused."""
    tally = Tally("names")
    for _ in range(count):
        folder, file = word(generator), word(generator)
        classes = sorted({word(generator), word(generator), word(generator)})
        bad = [name for name in classes if not _usable(name)]
        file = file.lstrip(".") or "x"  # hidden files are no photos, whatever they hold
        what = f"{folder!r}, {classes}, {file!r}"
        try:
            if bad and generator.random() < 0.5:
                data = named.lay(prey.place / "named" / "photos", classes)
                done = call("run", "--out", prey.place / "named/run", "--data", data, *named.WORDS)
                seen = [name for name in bad if not name.startswith(".")]
                tally.add(CAUGHT if done.refused or not seen else SILENT, what)
            else:
                # Always two, so that all sessions share their compiled programs.
                usable = [name for name in classes if _usable(name)]
                named.session(folder, [*usable, "plain", "other"][:2], file)
                tally.add(HARMLESS, what)
        except AssertionError as error:
            tally.add(SILENT, f"{what}: {error}")
        except Exception as error:
            tally.add(TRACEBACK, f"{what}: {error!r}")
        finally:
            shutil.rmtree(prey.place / "named", ignore_errors=True)
    return tally


def _usable(name: str) -> bool:
    try:
        check_class(name)
    except ValueError:
        return False
    return not name.startswith(".")
