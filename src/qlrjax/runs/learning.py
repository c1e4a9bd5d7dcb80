"""The events of a stream, learned into a folder one by one and saved on the way."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jax.profiler import TraceAnnotation

from qlrjax import files
from qlrjax import session as sessions
from qlrjax import settings as settings_file
from qlrjax.runs import history, marker, opened, runfolder, saver, sound
from qlrjax.runs.facts import Facts
from qlrjax.runs.interrupt import Interrupted, Stop
from qlrjax.runs.runfolder import Log
from qlrjax.session import Progress, Record, Session, SessionState

OnEvent = Callable[[Record], None]


@dataclasses.dataclass
class Work:
    """One call on one run's folder.

    Attributes:
        folder: The run's; its lock is held.
        own: Its marker.
        on_event: Called with the record of every event.
        on_progress: Called with (what, done, total).
        stop: Asked between events.
        notes: What the user should know; grows.
        seconds: Wall time of every event learned; grows.
    """

    folder: Path
    own: marker.Marker
    on_event: OnEvent | None
    on_progress: Progress
    stop: Stop | None
    notes: list[str] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.folder / marker.CHECKPOINTS


def learn(
    work: Work, session: Session, state: SessionState, records: Log, kept: Facts
) -> tuple[SessionState, Log]:
    """Learns the rest of the stream; what was learned is on disk when it ends.

    Args:
        work: Where, and whom to tell.
        session: What to work on.
        state: Consumed.
        records: The log so far.
        kept: What every checkpoint keeps.

    Raises:
        FloatingPointError: Something is not finite; the last good checkpoint is named.
        SaveFailed: A checkpoint could not be written; earlier ones are as they were.
    """
    values, learned = settings_file.to_dict(session.settings), int(state.learner.event)
    # Changes of the classes are checkpoints, too, so that steps can run ahead of events.
    ahead = opened.next_step(work.checkpoints, learned + 1) - (learned + 1)
    # An undo would take back the stream's events, too.
    kept = dataclasses.replace(kept, before=None, change="")
    folder, every = work.folder, session.settings.checkpoint_every

    def log(saved: Any) -> None:
        runfolder.write_records(folder / marker.EVENTS, saved)

    with saver.Saver(work.checkpoints, values, on_saved=log) as saving:
        saved = learned

        def save() -> None:
            nonlocal saved
            if int(state.learner.event) > saved:
                saved = int(state.learner.event)
                with TraceAnnotation("checkpoint"):
                    saving.save(saved + ahead, state, records, kept.to_extra())

        while int(state.position) < session.events and not (work.stop and work.stop.requested):
            started = time.perf_counter()
            try:
                state, record = _learn_one(session, state, work, saved + ahead)
            except Interrupted:  # while images were read: nothing of this event was learned
                break
            work.seconds.append(time.perf_counter() - started)
            record = history.add(folder, record, state.learner.memory)
            records = records.add(record)
            if int(state.position) % every == 0:
                save()
            _append_timing(folder, record["event"], work.seconds[-1])
            if work.on_event:
                work.on_event(record)
        save()
    return state, records


def _learn_one(
    session: Session, state: SessionState, work: Work, last: int
) -> tuple[SessionState, Record]:
    """The next event; one that diverges is not saved.

    Raises:
        FloatingPointError: Something is not finite; the last good checkpoint is named.
    """
    try:
        state, record = sessions.learn_next(session, state, work.on_progress)
        sound.check(state, f"event {record['event']}: what was learned")
    except FloatingPointError as error:
        good = f"the last good checkpoint is {last}" if last else "nothing was saved before"
        raise FloatingPointError(f"{error}; this event is not saved, {good}") from error
    return state, record


def _append_timing(folder: Path, event: int, seconds: float) -> None:
    files.append(folder / marker.TIMING, json.dumps({"event": event, "seconds": round(seconds, 3)}))
