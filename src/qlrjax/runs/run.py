"""A session in a folder: started, stopped, gone on with, and read again.

The folder holds settings.toml (what was asked for), frozen.npz (the frozen stage, see `stagefile`),
fidelity.csv (how close every integer layer stays to its float layer),
checkpoints/ (the learner's whole state, see `checkpoint`), events.jsonl (one line an event, always
exactly the events of the last checkpoint), timing.jsonl (seconds, not part of what is
reproducible), and, once it is finished, accuracy.csv, summary.json and report.png.
"""

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax.runs import checkpoint, runfolder, saver
from qlrjax import report, weights
from qlrjax.integer import stagefile
from qlrjax import session as sessions
from qlrjax import settings as settings_file
from qlrjax.integer.extractor import Extractor
from qlrjax.runs.interrupt import Interrupted, Stop
from qlrjax.runs.lessons import Lesson
from qlrjax.session import Progress, Record, Session, SessionState
from qlrjax.settings import Settings
from qlrjax import files

CHECKPOINTS, SETTINGS, EVENTS, STAGE = "checkpoints", "settings.toml", "events.jsonl", "frozen.npz"
FIDELITY = "fidelity.csv"
# In the order in which --fresh removes them: without checkpoints, nothing else is believed.
OWN_FILES = (CHECKPOINTS, SETTINGS, STAGE, FIDELITY, EVENTS, "timing.jsonl", "accuracy.csv",
             "summary.json", "report.png", "no-replay", "no-replay-cwrstar")  # fmt: skip
# May change between two calls without changing what is learned.
FREE_SETTINGS = ("checkpoint_every", "stream.data_dir")

OnEvent = Callable[[Record], None]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        session: What it worked on.
        state: The learner after the last learned event.
        records: One record an event.
        finished: False when it was stopped before the stream's end.
        notes: What the user should know, such as a damaged checkpoint that was set aside.
        seconds: Wall time of every event learned by this call.
    """

    session: Session
    state: SessionState
    records: tuple[Record, ...]
    finished: bool
    notes: tuple[str, ...]
    seconds: tuple[float, ...]

    def curve(self, name: str) -> report.Curve:
        """The session as the report shows it."""
        classes = self.session.cut.classes
        return report.Curve(
            name=name,
            matrix=np.asarray(self.state.accuracy),
            introduced=np.asarray(self.state.introduced),
            test_counts=np.bincount(self.session.test_labels, minlength=classes),
            class_names=self.session.class_names,
        )


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run read back without its data.

    Attributes:
        settings: Of the run.
        extractor: The frozen stage and the cut network, with as many logits as classes.
        class_names: In label order.
        state: The learner.
        records: The log so far.
        extra: What else the checkpoint keeps.
        notes: See `Outcome`.
    """

    settings: Settings
    extractor: Extractor
    class_names: tuple[str, ...]
    state: SessionState
    records: tuple[Record, ...]
    extra: dict[str, Any]
    notes: tuple[str, ...]


def run(
    settings: Settings,
    folder: Path,
    *,
    fresh: bool = False,
    session: Session | None = None,
    on_event: OnEvent | None = None,
    on_progress: Progress | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Starts a run, or goes on with it where its last checkpoint is.

    Args:
        settings: Of the run; on a folder that holds one, they have to be its own.
        folder: Made if it is not there.
        fresh: Throw the run in the folder away first.
        session: What to work on, if it is prepared already.
        on_event: Called with the record of every event, those from before included.
        on_progress: See `session.prepare`.
        stop: Asked between events; what was learned is saved first.

    Raises:
        ValueError: The folder holds something else, or a run with other settings or other data.
        Interrupted: A stop was asked for before there was anything to save.
        OSError: The folder cannot be written to; the last checkpoint stays as it was.
    """
    existed = folder.exists()
    _check_folder(folder)
    with runfolder.lock(folder):
        if fresh and existed:
            runfolder.clear(folder, OWN_FILES)
        _check_settings(folder, settings)
        described = checkpoint.peek(folder / CHECKPOINTS)
        extra = described.extra if described else {}
        watched = _watch(on_progress, stop)
        if session is None:
            session = _prepare(settings, folder, extra, watched)
        state, records, notes = _begin(session, folder, extra)
        for record in records:
            if on_event and "event" in record:
                on_event(record)
        seconds: list[float] = []
        if int(state.position) < session.events:
            facts = _facts(session, folder) | extra
            state, records = _learn(
                session, state, list(records), folder, facts, on_event, watched, stop, seconds
            )
        finished = int(state.position) == session.events
        outcome = Outcome(session, state, tuple(records), finished, notes, tuple(seconds))
        if finished:
            _write_results(outcome, folder)
        return outcome


def open_run(folder: Path) -> OpenRun:
    """Reads a run back, finished or interrupted; neither its data nor pretrained weights are used.

    Raises:
        ValueError: The folder holds no run with at least one learned event, or it is damaged.
    """
    _check_holds_run(folder)
    described = checkpoint.peek(folder / CHECKPOINTS)
    if described is None:
        raise checkpoint.CorruptCheckpoint(
            f"no checkpoint in {folder} is intact; give the command of the run again to see why"
        )
    settings = settings_file.from_dict(described.settings)
    names = tuple(str(name) for name in described.extra["class_names"])
    extractor = _load_stage(folder, described.extra, len(names))
    cut, events = extractor.cut, int(described.extra["events"])
    untrained = weights.random(cut.network, 0)
    template = sessions.initial_state(settings, cut, untrained, extractor.latent_max, events)
    restored = checkpoint.restore(folder / CHECKPOINTS, template, described.settings)
    assert restored is not None
    return OpenRun(settings, extractor, names, restored.state, restored.records, restored.extra,
                   restored.notes)  # fmt: skip


@contextlib.contextmanager
def editing(folder: Path) -> Iterator[OpenRun]:
    """`open_run` for a caller that will `save_run`; no other process may work in the folder."""
    _check_holds_run(folder)
    with runfolder.lock(folder):
        yield open_run(folder)


def save_run(folder: Path, opened: OpenRun, lesson: Lesson) -> None:
    """Saves what was learned from photos as the run's next checkpoint."""
    records = (*opened.records, lesson.record)
    extra = {**opened.extra, "class_names": list(lesson.class_names)}
    values = settings_file.to_dict(opened.settings)
    step = int(lesson.state.learner.event)
    checkpoint.save(folder / CHECKPOINTS, step, lesson.state, values, records, extra)
    runfolder.write_records(folder / EVENTS, records)


def _check_holds_run(folder: Path) -> None:
    if not checkpoint.steps(folder / CHECKPOINTS):
        raise ValueError(
            f"{folder} holds no run with a checkpoint; make one with: qlrjax run --out {folder}"
        )


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the run")
    if not folder.is_dir() or (folder / SETTINGS).exists() or (folder / CHECKPOINTS).exists():
        return
    foreign = sorted({path.name for path in folder.iterdir()} - {*OWN_FILES, runfolder.LOCK_NAME})
    foreign = [name for name in foreign if not name.startswith(".")]
    if foreign:
        raise ValueError(
            f"{folder} is not empty and holds no run (there is {foreign[0]!r}); name a new folder"
        )


def _check_settings(folder: Path, settings: Settings) -> None:
    path = folder / SETTINGS
    if not path.exists():
        return
    before = settings_file.load(path)
    changed = settings_file.differences(before, settings, FREE_SETTINGS)
    if changed:
        raise checkpoint.SettingsMismatch(
            f"the run in {folder} has other settings: {'; '.join(changed)}; use its own, name "
            "another folder, or start anew with --fresh"
        )


def _prepare(
    settings: Settings, folder: Path, extra: dict[str, Any], on_progress: Progress | None
) -> Session:
    names = tuple(extra.get("class_names", ()))
    added = names[extra.get("stream_classes", len(names)) :]
    if not extra:
        return sessions.prepare(settings, None, added, on_progress)
    try:
        extractor = _load_stage(folder, extra, len(names))
    except ValueError:
        # The same images give the same stage again; if they do not, the error stands.
        session = sessions.prepare(settings, None, added, on_progress)
        stage = stagefile.dump(session.extractor)
        if hashlib.sha256(stage).hexdigest() != extra["stage_sha256"]:
            raise
        files.write_atomic(folder / STAGE, stage)
        return session
    return sessions.prepare(settings, extractor, added, on_progress)


def _begin(
    session: Session, folder: Path, extra: dict[str, Any]
) -> tuple[SessionState, tuple[Record, ...], tuple[str, ...]]:
    """The state to go on from, its log, and notes; writes what a new run needs."""
    if extra and extra["stream"] != session.stream.digest():
        raise ValueError(
            f"the images of {session.settings.stream.data!r} are not those that the run in "
            f"{folder} has learned from; give it its own data, or name another folder"
        )
    template = sessions.start(session)
    values = settings_file.to_dict(session.settings)
    restored = checkpoint.restore(folder / CHECKPOINTS, template, values, FREE_SETTINGS)
    if restored is not None:
        runfolder.write_records(folder / EVENTS, restored.records)
        return restored.state, restored.records, restored.notes
    files.write_atomic(folder / STAGE, stagefile.dump(session.extractor))
    if session.extractor.quantized.stage:
        files.write_atomic(folder / FIDELITY, report.fidelity_csv(sessions.fidelity(session)))
    files.write_atomic(folder / SETTINGS, settings_file.dump(session.settings))
    return template, (), ()


def _facts(session: Session, folder: Path) -> dict[str, Any]:
    """What every checkpoint keeps besides the state; those of an earlier one go before."""
    return {
        "class_names": list(session.class_names),
        "stream_classes": len(session.stream.source.class_names),
        "events": session.events,
        "stream": session.stream.digest(),
        "stage_sha256": hashlib.sha256((folder / STAGE).read_bytes()).hexdigest(),
    }


def _learn(
    session: Session,
    state: SessionState,
    records: list[Record],
    folder: Path,
    extra: dict[str, Any],
    on_event: OnEvent | None,
    on_progress: Progress | None,
    stop: Stop | None,
    seconds: list[float],
) -> tuple[SessionState, list[Record]]:
    values = settings_file.to_dict(session.settings)

    def log(saved: Any) -> None:
        runfolder.write_records(folder / EVENTS, saved)

    with saver.Saver(folder / CHECKPOINTS, values, on_saved=log) as saving:
        saved = int(state.learner.event)

        def save() -> None:
            nonlocal saved
            if int(state.learner.event) > saved:
                saved = int(state.learner.event)
                saving.save(saved, state, records, extra)

        while int(state.position) < session.events and not (stop and stop.requested):
            started = time.perf_counter()
            try:
                state, record = sessions.learn_next(session, state, on_progress)
            except Interrupted:  # while images were read: nothing of this event was learned
                break
            seconds.append(time.perf_counter() - started)
            records = [*records, record]
            if int(state.position) % session.settings.checkpoint_every == 0:
                save()
            _append_timing(folder, record["event"], seconds[-1])
            if on_event:
                on_event(record)
        save()
    return state, records


def _load_stage(folder: Path, extra: dict[str, Any], classes: int) -> Extractor:
    path = folder / STAGE
    if not path.is_file():
        raise ValueError(f"{path} is missing; put it back, or start the run anew with --fresh")
    if hashlib.sha256(path.read_bytes()).hexdigest() != extra["stage_sha256"]:
        raise ValueError(f"{path} is damaged; put a good copy back, or start anew with --fresh")
    return stagefile.load(path, classes)


def _write_results(outcome: Outcome, folder: Path) -> None:
    curve = outcome.curve("run")
    memory = outcome.state.learner.memory
    extra = {"events": outcome.session.events, "replay_bytes": memory.bytes,
             "replays": memory.slots, "bits": memory.bits}  # fmt: skip
    files.write_atomic(folder / "accuracy.csv", report.accuracy_csv(curve))
    files.write_atomic(folder / "summary.json", report.summary_json(curve, extra))


def _append_timing(folder: Path, event: int, seconds: float) -> None:
    with (folder / "timing.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, "seconds": round(seconds, 3)}) + "\n")


def _watch(on_progress: Progress | None, stop: Stop | None) -> Progress:
    """Progress that gives work up as soon as a stop is asked for."""

    def watched(what: str, done: int, total: int) -> None:
        if stop:
            stop.check()
        if on_progress:
            on_progress(what, done, total)

    return watched
