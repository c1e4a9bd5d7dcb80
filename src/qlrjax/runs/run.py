"""A session in a folder: started, stopped, gone on with, and read again.

The folder holds qlrjax-run.json (see `marker`), settings.toml (what was asked for), frozen.npz (the
frozen stage, see `stagefile`), fidelity.csv (how close every integer layer stays to its float
layer), checkpoints/ (the learner's whole state, see `checkpoint`), events.jsonl (one line an event,
always exactly the events of the last checkpoint), timing.jsonl (seconds, not part of what is
reproducible), history.jsonl (see `history`), and, once it is finished, accuracy.csv, summary.json
and report.png.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qlrjax import calibrated, devices, files, needs, weights
from qlrjax import session as sessions
from qlrjax import settings as settings_file
from qlrjax.integer import fidelity, stagefile
from qlrjax.integer.fidelity import Fidelity
from qlrjax.names import printable
from qlrjax.runs import checkpoint, learning, marker, opened, runfolder, sound, upgrade
from qlrjax.runs import facts as run_facts
from qlrjax.runs.facts import Facts
from qlrjax.runs.interrupt import Stop
from qlrjax.runs.learning import OnEvent, Work
from qlrjax.runs.marker import CHECKPOINTS, EVENTS, FIDELITY, SETTINGS, STAGE
from qlrjax.runs.opened import OpenRun, editing, open_run
from qlrjax.session import Progress, Record, Session, SessionState
from qlrjax.settings import Settings
from qlrjax.streams import open as streams

if TYPE_CHECKING:
    from qlrjax.report import Curve

__all__ = [
    "CHECKPOINTS",
    "EVENTS",
    "FREE_SETTINGS",
    "SETTINGS",
    "STAGE",
    "OpenRun",
    "Outcome",
    "editing",
    "open_run",
    "own_settings",
    "run",
]

# May change between two calls without changing what is learned: how often it is saved, how many
# devices share the work (sums differ in rounding, and a note says so), where data lies (the images
# are compared by their digest), and what happens to photos that cannot be read.
FREE_SETTINGS = ("checkpoint_every", "devices", "stream.data", "stream.data_dir", "stream.strict")


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

    def curve(self, name: str) -> "Curve":
        """The session as the report shows it."""
        from qlrjax.runs import results  # matplotlib takes a second, and most calls need none

        return results.curve(self.session, self.state, name)


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
        settings: Of the run; on a folder that holds one, they have to be its own, but for
            `FREE_SETTINGS`.
        folder: Made if it is not there.
        fresh: Throw the run in the folder away first.
        session: What to work on, if it is prepared already: a strategy, a stream or a network of
            your own come with it, each time the run goes on.
        on_event: Called with the record of every event, those from before included.
        on_progress: See `session.prepare`.
        stop: Asked between events; what was learned is saved first.

    Raises:
        ValueError: The folder holds something else, or a run with other settings or other data.
        FloatingPointError: What was learned is not finite; the checkpoints before stand.
        Interrupted: A stop was asked for before there was anything to save.
        OSError: The folder cannot be written to; the last checkpoint stays as it was.
    """
    settings = absolute(settings)
    needs.check(settings)
    devices.mesh(settings.devices)
    marker.look(folder)
    with runfolder.lock(folder):
        work = Work(folder, marker.claim(folder), on_event, _watch(on_progress, stop), stop)
        if fresh:
            marker.clear(folder, work.own)
        kept = _kept(work, settings)
        if session is None:
            session = _prepare(work, settings, kept)
        state, records, kept = _begin(work, session, kept)
        for record in records:
            if on_event and "event" in record:
                on_event(record)
        if int(state.position) < session.events:
            log = runfolder.Log.of(records)
            state, records = learning.learn(work, session, state, log, kept)
        finished = int(state.position) == session.events
        if finished:
            from qlrjax.runs import results

            results.write(session, state, records, folder)
        return Outcome(
            session, state, tuple(records), finished, tuple(work.notes), tuple(work.seconds)
        )


def absolute(settings: Settings) -> Settings:
    """The same settings, with paths that hold from wherever one stands.

    Raises:
        ValueError: There is no such data, or settings.toml could not hold its path.
    """
    name = settings.weights
    if weights.is_path(name):
        name = str(streams.expand(name).absolute())
    stream = streams.absolute(settings.stream)
    for path in (name, stream.data, stream.data_dir):
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the path {printable(path)} is not UTF-8, so settings.toml could not hold it; "
                "rename the folder, or reach it through a link"
            ) from error
    return dataclasses.replace(settings, weights=name, stream=stream)


def own_settings(folder: Path) -> Settings | None:
    """The settings of the run in a folder; None where there is no run.

    Raises:
        ValueError: They cannot be read, and there is no checkpoint that repeats them.
    """
    described = checkpoint.newest_manifest(folder / CHECKPOINTS)
    if described is not None:
        return upgrade.settings_of(described.settings)
    if marker.read(folder) is None or not (folder / SETTINGS).exists():
        return None
    try:
        return settings_file.load(folder / SETTINGS)
    except ValueError as error:
        raise ValueError(f"{error}; mend it, or start anew with --fresh") from error


def _kept(work: Work, settings: Settings) -> Facts | None:
    """What the newest intact checkpoint keeps; None where nothing was learned yet.

    A run that learned nothing may start again with other settings.
    """
    described = checkpoint.peek(work.checkpoints)
    if described is None:
        return None
    if not work.own.owns(described.extra.get("run")):
        raise marker.NotOurs(
            f"checkpoint {described.step} in {printable(work.folder)} is of another run; put the "
            "folder's own checkpoints back, or name another folder"
        )
    before = upgrade.settings_of(described.settings)
    path = str(Path(before.weights).absolute())
    if path == settings.weights:  # of a run from before paths were made absolute
        before = dataclasses.replace(before, weights=path)
    changed = settings_file.differences(before, settings, FREE_SETTINGS)
    if changed:
        raise checkpoint.SettingsMismatch(
            f"the run in {printable(work.folder)} has other settings: {'; '.join(changed)}; use "
            "its own (leave them out), name another folder, or start anew with --fresh"
        )
    return run_facts.from_extra(described.extra)


def _prepare(work: Work, settings: Settings, kept: Facts | None) -> Session:
    if kept is None:
        return sessions.prepare(settings, on_progress=work.on_progress)
    added = kept.class_names[kept.stream_classes :]
    try:
        extractor = opened.load_stage(work.folder, kept)
    except ValueError:
        # The same images give the same stage again; if they do not, the error stands.
        earlier = sessions.Earlier(extra_names=added)
        session = sessions.prepare(settings, earlier=earlier, on_progress=work.on_progress)
        stage = stagefile.dump(session.extractor)
        if hashlib.sha256(stage).hexdigest() != kept.stage_sha256:
            raise
        files.write_atomic(work.folder / STAGE, stage)
    else:
        earlier = sessions.Earlier(extractor, added)
        session = sessions.prepare(settings, earlier=earlier, on_progress=work.on_progress)
    # Renamed classes keep their new names.
    fits = len(kept.class_names) == len(session.class_names)
    return dataclasses.replace(session, class_names=kept.class_names) if fits else session


def _begin(
    work: Work, session: Session, kept: Facts | None
) -> tuple[SessionState, tuple[Record, ...], Facts]:
    """The state to go on from, its log and what to keep; writes what a new run needs."""
    folder = work.folder
    if kept is not None and kept.stream != session.stream.digest():
        raise ValueError(
            f"the images of {printable(session.settings.stream.data)!r} are not those that the run "
            f"in {printable(folder)} has learned from; give it its own data, or name another folder"
        )
    if kept is not None:
        opened.check_strategy(kept, session.settings, session.strategy)
    images = sum(len(event) for event in session.stream.events)
    needs.check(
        session.settings,
        len(session.class_names),
        session.events,
        images,
        network=session.cut.network,
    )
    template = sessions.start(session)
    values = settings_file.to_dict(session.settings)
    free = FREE_SETTINGS
    if kept is not None:  # `_kept` compared the weights, and all settings there were none of then
        free += ("weights", *_newer(work, session.settings))
    restored = checkpoint.restore(work.checkpoints, template, values, free)
    _write_settings(work, session.settings, is_new=restored is None)
    if restored is not None:
        sound.check(restored.state, f"the checkpoint {restored.step} in {printable(folder)}")
        runfolder.write_records(folder / EVENTS, restored.records)
        work.notes.extend(restored.notes)
        kept = run_facts.from_extra(restored.extra)
        return restored.state, restored.records, dataclasses.replace(kept, run=work.own.id)
    stage = stagefile.dump(session.extractor)
    files.write_atomic(folder / STAGE, stage)
    if session.extractor.quantized.stage:
        files.write_atomic(folder / FIDELITY, fidelity.csv_text(_fidelity(session)))
    else:
        (folder / FIDELITY).unlink(missing_ok=True)
    return template, (), _facts(session, work.own, hashlib.sha256(stage).hexdigest())


def _newer(work: Work, settings: Settings) -> tuple[str, ...]:
    described = checkpoint.peek(work.checkpoints)
    return upgrade.newer_settings(described.settings, settings) if described else ()


def _write_settings(work: Work, settings: Settings, is_new: bool) -> None:
    """Writes settings.toml, which repeats what the checkpoints say, where it does not say so."""
    path, text = work.folder / SETTINGS, settings_file.dump(settings)
    try:
        same = settings_file.says(path, settings)
    except ValueError as error:
        same = False
        if path.exists() and not is_new:
            work.notes.append(f"{error}; it was written anew from the checkpoint")
    if not same:
        files.write_atomic(path, text)


def _facts(session: Session, own: marker.Marker, stage_sha256: str) -> Facts:
    return Facts(
        class_names=session.class_names,
        stream_classes=len(session.stream.source.class_names),
        events=session.events,
        stream=session.stream.digest(),
        stage_sha256=stage_sha256,
        run=own.id,
        strategy=opened.own_strategy(session.settings, session.strategy),
    )


def _watch(on_progress: Progress | None, stop: Stop | None) -> Progress:
    """Progress that gives work up as soon as a stop is asked for."""

    def watched(what: str, done: int, total: int) -> None:
        if stop:
            stop.check()
        if on_progress:
            on_progress(what, done, total)

    return watched


def _fidelity(session: Session) -> list[Fidelity]:
    """How close the integer stage stays to the float one, on up to 64 test images."""
    test = session.stream.test
    chosen = test[np.linspace(0, len(test) - 1, min(64, len(test))).round().astype(int)]
    images = session.stream.source.read(chosen)
    quantized = session.extractor.quantized
    return calibrated.measured(session.cut, session.parameters, quantized, images)
