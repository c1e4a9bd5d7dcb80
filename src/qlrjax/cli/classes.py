"""`qlrjax classes`: what a run knows, and how to rename, forget or take back."""

import dataclasses
import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from rich.console import Console

from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.names import printable

if TYPE_CHECKING:  # what loads JAX waits until the words are understood
    from qlrjax.runs.opened import OpenRun

_CHANGES = {"rename": 2, "forget": 1, "undo": 0}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """List the classes of a run, or change them.

    Attributes:
        run: The run's folder.
        change: Nothing to list them; or  rename OLD NEW,  or  forget NAME  (its replays and its
            column of the head are removed),  or  undo  (of the last lesson, rename or forget).
        json: Print the list as JSON and nothing else.
    """

    run: tyro.conf.Positional[Path]
    change: tyro.conf.Positional[tuple[str, ...]] = ()
    json: bool = False

    def __post_init__(self) -> None:
        if not self.change:
            return
        word, *names = self.change
        if word not in _CHANGES or len(names) != _CHANGES[word]:
            raise ValueError(
                f"{' '.join(self.change)!r} is no change of classes; give  rename OLD NEW,  "
                "forget NAME,  or  undo"
            )


def main(words: Sequence[str]) -> int:
    """Lists the classes, or changes them and saves the run."""
    arguments = parse_arguments(Arguments, words, "qlrjax classes")
    from qlrjax.runs import opened, results

    console = Console(stderr=True)
    if not arguments.change:
        run = opened.open_run(arguments.run)
        show.notes(console, run.notes)
        _list(run, arguments.json)
        return 0
    with opened.editing(arguments.run) as run:
        show.notes(console, run.notes)
        print(_change(arguments.run, run, *arguments.change))
    after = opened.open_run(arguments.run)
    results.refresh(
        arguments.run, np.asarray(after.state.accuracy), after.class_names, after.records
    )
    return 0


def _change(folder: Path, run: "OpenRun", word: str, *names: str) -> str:
    """Makes a change and says what it was."""
    from qlrjax.runs import opened, teach

    if word == "undo":
        return f"undone: {teach.undo(folder, run)}"
    undo = f"take it back with: qlrjax classes {printable(folder)} undo"
    if word == "rename":
        lesson = teach.rename(run, *names)
        done = f"class {names[0]!r} is called {names[1]!r} now"
    else:
        lesson = teach.forget(run, *names)
        gone = lesson.record["replays_removed"]
        done = f"class {names[0]!r} is forgotten; {gone} of its latents left the replay memory"
    opened.save(folder, run, lesson, f"{word} {', '.join(map(repr, names))}")
    return f"{done}\n{undo}"


def _list(run: "OpenRun", json: bool) -> None:
    from qlrjax.runs import teach

    rows = teach.classes(run)
    if json:
        print(json_text.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        return
    columns = ("class", "from", "replays", "seen")
    cells = [
        (row.name, row.origin, row.replays, f"{row.seen}" if row.seen else "not known")
        for row in rows
    ]
    Console().print(show.table(f"{len(rows)} classes", columns, cells))
    if run.facts.before is not None:
        print(f"undo would take back: {printable(run.facts.change)}")
