"""A run read back without its data: to ask it, to teach it, to change its classes."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

from qlrjax import files, needs, weights
from qlrjax import session as sessions
from qlrjax import settings as settings_file
from qlrjax.integer import stagefile
from qlrjax.integer.extractor import Extractor
from qlrjax.names import printable
from qlrjax.runs import checkpoint, marker, runfolder, snapshot, sound, upgrade
from qlrjax.runs import facts as run_facts
from qlrjax.runs.facts import Facts
from qlrjax.runs.lessons import Lesson
from qlrjax.runs.manifest import Manifest
from qlrjax.session import Record, SessionState
from qlrjax.settings import Settings
from qlrjax.training import kernels, strategies
from qlrjax.training.learner import Learner
from qlrjax.training.strategies import Strategy


@dataclasses.dataclass(frozen=True)
class OpenRun:
    """A run read back without its data.

    Attributes:
        settings: Of the run.
        strategy: What is kept besides replays, and who answers.
        extractor: The frozen stage and the network, with as many logits as classes.
        class_names: In label order.
        state: The learner.
        records: The log so far.
        facts: What else the checkpoint keeps.
        step: Of the checkpoint that was read.
        notes: What the user should know, such as a damaged checkpoint that was set aside.
        damage: Those of the notes that say so.
    """

    settings: Settings
    strategy: Strategy
    extractor: Extractor
    class_names: tuple[str, ...]
    state: SessionState
    records: tuple[Record, ...]
    facts: Facts
    step: int
    notes: tuple[str, ...]
    damage: tuple[str, ...]

    @property
    def in_hw(self) -> tuple[int, int]:
        """Height and width of the images that the network takes, pixels."""
        return self.extractor.cut.network.in_hw

    @property
    def learner(self) -> Learner:
        """What learns."""
        cut = self.extractor.cut
        native = kernels.serve(cut)
        return Learner(cut, self.settings.protocol, self.strategy, native=native)


def open_run(folder: Path, strategy: Strategy | None = None) -> OpenRun:
    """Reads a run back, finished or interrupted; neither its data nor pretrained weights are used.

    Args:
        folder: Of the run.
        strategy: Of a run that was learned with a strategy of your own, which no file can hold.

    Raises:
        ValueError: The folder holds no run with at least one learned event, or it is damaged, or
            its state is not finite.
    """
    _check_holds_run(folder)
    while True:
        described = checkpoint.peek(folder / marker.CHECKPOINTS)
        if described is None:
            raise checkpoint.CorruptCheckpoint(
                f"no checkpoint in {printable(folder)} is intact; give the command of the run "
                "again to see why"
            )
        try:
            return _open(folder, described, None, strategy)
        except checkpoint.SettingsMismatch:  # a lesson of another process has just added a class
            now = checkpoint.peek(folder / marker.CHECKPOINTS)
            if now is None or now.step == described.step:
                raise


def open_step(folder: Path, step: int, strategy: Strategy | None = None) -> OpenRun:
    """`open_run` of an older checkpoint; newer ones stay as they are.

    Raises:
        ValueError: There is none of that step, or it is damaged.
    """
    try:
        described = snapshot.verify((folder / marker.CHECKPOINTS).absolute() / f"{step:08d}")
    except snapshot.Damaged as error:
        raise ValueError(
            f"checkpoint {step} in {printable(folder)} is missing or damaged ({error})"
        ) from error
    return _open(folder, described, step, strategy)


def _open(
    folder: Path, described: Manifest, step: int | None, strategy: Strategy | None
) -> OpenRun:
    settings = upgrade.settings_of(described.settings)
    kept = run_facts.from_extra(described.extra)
    extractor = load_stage(folder, kept)
    needs.check(settings, len(kept.class_names), kept.events, network=extractor.cut.network)
    untrained = weights.random(extractor.cut.network, 0)
    strategy = strategy or strategies.named(settings.protocol, settings.replays)
    check_strategy(kept, settings, strategy)
    taught = Learner(extractor.cut, settings.protocol, strategy)
    template = sessions.initial_state(settings, taught, untrained, extractor.quantized, kept.events)
    place = folder / marker.CHECKPOINTS
    restored = checkpoint.restore(place, template, described.settings, at=step)
    if restored is None:  # `run --fresh` of another process has just thrown them away
        raise ValueError(
            f"the checkpoints in {printable(folder)} went away while they were read: another "
            "process starts this run anew; ask again when it has learned an event"
        )
    sound.check(restored.state, f"the checkpoint {restored.step} in {printable(folder)}")
    return OpenRun(
        settings=settings,
        strategy=strategy,
        extractor=extractor,
        class_names=kept.class_names,
        state=restored.state,
        records=restored.records,
        facts=kept,
        step=restored.step,
        notes=restored.notes,
        damage=restored.damage,
    )


@contextlib.contextmanager
def editing(folder: Path) -> Iterator[OpenRun]:
    """`open_run` for a caller that will `save`; no other process may work in the folder."""
    _check_holds_run(folder)
    with runfolder.lock(folder):
        marker.claim(folder)
        yield open_run(folder)


def save(folder: Path, opened: OpenRun, lesson: Lesson, change: str) -> None:
    """Saves a run that was changed as its next checkpoint, and keeps the one before for `undo`.

    Args:
        folder: The run's.
        opened: As it was read.
        lesson: State, class names and the record to add to the log.
        change: What was done, in a few words.

    Raises:
        NotSound: The state is none that a learner can have; nothing is saved.
        SaveFailed: It could not be written; the run is as it was.
    """
    sound.check(lesson.state, "what was learned")
    own = marker.read(folder)
    kept = dataclasses.replace(
        opened.facts,
        class_names=lesson.class_names,
        run=own.id if own else opened.facts.run,
        before=opened.step,
        change=change,
    )
    records = (*opened.records, lesson.record)
    publish(folder, opened.settings, lesson.state, records, kept)


def publish(
    folder: Path,
    settings: Settings,
    state: SessionState,
    records: tuple[Record, ...],
    kept: Facts,
) -> None:
    """Writes a state as the run's newest checkpoint, and the log with it.

    Raises:
        SaveFailed: It could not be written; the run is as it was.
    """
    place = folder / marker.CHECKPOINTS
    step = next_step(place, int(state.learner.event))
    spare = () if kept.before is None else (kept.before,)
    values = settings_file.to_dict(settings)
    checkpoint.save(place, step, state, values, records, kept.to_extra(), spare=spare)
    runfolder.write_records(folder / marker.EVENTS, records)


def next_step(checkpoints: Path, event: int) -> int:
    """The number of the next checkpoint: that of the event, or more after changes of classes."""
    return max(event, *(step + 1 for step in checkpoint.steps(checkpoints)), 0)


def own_strategy(settings: Settings, strategy: Strategy) -> str:
    """What a strategy of the caller's own says of itself; empty for the one the settings name."""
    named = strategies.named(settings.protocol, settings.replays)
    return "" if strategy == named else repr(strategy)


def check_strategy(kept: Facts, settings: Settings, strategy: Strategy) -> None:
    """Raises ValueError unless a run was learned with that strategy."""
    if own_strategy(settings, strategy) != kept.strategy:
        wanted = kept.strategy or "the strategy that its settings name"
        raise ValueError(
            f"the run was learned with {wanted}, not with {strategy}; give it its own: "
            "prepare(settings, strategy=...) to go on, open_run(folder, strategy=...) to read"
        )


def load_stage(folder: Path, kept: Facts) -> Extractor:
    """The frozen stage of a run.

    Raises:
        ValueError: It is missing, or is not the one that the run has learned with.
    """
    path = folder / marker.STAGE
    remedy = "put a good copy back, or start anew with --fresh"
    try:
        data = files.read(path, stagefile.SIZE_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise ValueError(f"{printable(path)} is missing; {remedy}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{printable(path)} cannot be read ({error}); {remedy}") from error
    if hashlib.sha256(data).hexdigest() != kept.stage_sha256:
        raise ValueError(f"{printable(path)} is damaged; {remedy}")
    return stagefile.load(path, len(kept.class_names))


def _check_holds_run(folder: Path) -> None:
    if not checkpoint.steps(folder / marker.CHECKPOINTS):
        raise ValueError(
            f"{printable(folder)} holds no run with a checkpoint; make one with: qlrjax run --out "
            f"{printable(folder)}"
        )
