"""`qlrjax run`: learn a stream of events into a folder, with progress, and contrast no replays."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro
from pulpsim.event.event import event_cost_summary
from pulpsim.event.setting import EventSetting
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qlrjax import files, presets, report, session, settings
from qlrjax.cli.arguments import parse_arguments
from qlrjax.runs import interrupt, run
from qlrjax.session import Record
from qlrjax.settings import Settings
from qlrjax.training import minibatch


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """Learn a stream of events, or go on with an unfinished run in the same folder.

    Attributes:
        out: The run's folder; made if it is not there.
        settings: All settings.
        preset: Strategy to start from: default, ar1star-free, ar1star, cwrstar, fine-tuning,
            native-rehearsal or joint.
        config: TOML file of settings; flags win over it.
        fresh: Throw an earlier run in the folder away and start anew.
        contrast: Also learn the same stream without replays, to show what they are worth.
    """

    out: Path
    settings: Annotated[Settings, tyro.conf.OmitArgPrefixes]
    preset: str = "default"
    config: Path | None = None
    fresh: bool = False
    contrast: bool = True


def parse(words: Sequence[str]) -> RunArguments:
    """Flags over the TOML file over the preset.

    Raises:
        ValueError: The file or the preset is not usable.
        SystemExit: The flags are not; tyro has said why.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config", type=Path)
    early.add_argument("--preset", default="default")
    known, _ = early.parse_known_args(list(words))
    base = settings.load(known.config) if known.config else presets.preset(known.preset)

    def make(
        out: Path, settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = base,
        preset: str = known.preset, config: Path | None = known.config, fresh: bool = False,
        contrast: bool = True,
    ) -> RunArguments:  # fmt: skip
        return RunArguments(out, settings, preset, config, fresh, contrast)

    make.__doc__ = RunArguments.__doc__
    return parse_arguments(make, words, "qlrjax run")


def main(words: Sequence[str]) -> int:
    """Runs, resumes or shows a session; exit code 0, or 130 and 143 when interrupted."""
    arguments = parse(words)
    console = Console(stderr=True)
    with interrupt.catch(_say_stopping) as stop:
        try:
            with _progress(console) as (on_progress, on_event):
                outcome = run.run(
                    arguments.settings, arguments.out, fresh=arguments.fresh, on_event=on_event,
                    on_progress=on_progress, stop=stop,
                )  # fmt: skip
        except interrupt.Interrupted:
            return _interrupted(console, arguments.out, stop)
        for note in outcome.notes:
            console.print(f"[yellow]note:[/] {note}")
        if not outcome.finished:
            return _interrupted(console, arguments.out, stop)
        if not outcome.seconds:
            console.print(f"the run in {arguments.out} is finished; --fresh starts it anew")
        curves = [outcome.curve(name_of(arguments.settings))]
        if arguments.contrast and arguments.settings.replays:
            with _progress(console) as (on_progress, on_event):
                curves += _contrast(outcome, arguments, on_event, stop)
            if stop.requested:
                return _interrupted(console, arguments.out, stop)
    files.write_atomic(arguments.out / "report.png", report.picture(curves))
    show(Console(), curves, outcome, arguments.out)
    return 0


def _contrast(
    outcome: run.Outcome,
    arguments: RunArguments,
    on_event: Callable[[Record], None],
    stop: interrupt.Stop,
) -> list[report.Curve]:
    """The same stream without replays: with the consolidated head, and plainly fine-tuned.

    Mini-batches keep their new latents and lose the replayed ones, so that from the second event on
    both sides make the same number of updates from the same images.
    """
    curves = []
    largest = max(len(event) for event in outcome.session.stream.events)
    share = minibatch.compose(
        largest, arguments.settings.replays, arguments.settings.protocol.minibatch, False
    ).new
    for classifier, name in (
        ("cwr*", "no replays, CWR* head"),
        ("plain", "no replays, fine-tuned"),
    ):
        protocol = dataclasses.replace(
            arguments.settings.protocol, classifier=classifier, minibatch=share
        )
        without = dataclasses.replace(arguments.settings, replays=0, protocol=protocol)
        folder = arguments.out / ("no-replay" if classifier == "plain" else "no-replay-cwrstar")
        other = run.run(
            without, folder, fresh=arguments.fresh, on_event=on_event, stop=stop,
            session=session.with_settings(outcome.session, without),
        )  # fmt: skip
        curves.append(other.curve(name))
        if not other.finished:
            break
    return curves


def name_of(chosen: Settings) -> str:
    """The session in a legend."""
    if not chosen.replays:
        return "no replays"
    width = "float32" if chosen.bits == 32 else f"{chosen.bits}-bit"
    return f"{chosen.replays} {width} replays"


def show(console: Console, curves: Sequence[report.Curve], outcome: run.Outcome, out: Path) -> None:
    """The result as a table, and where the rest of it lies."""
    table = Table(
        title=f"{outcome.session.stream.source.name}: after {len(outcome.records)} events"
    )
    table.add_column("strategy")
    for column in ("accuracy (%)", "average (%)", "forgetting (points)", "replays (MB)"):
        table.add_column(column, justify="right")
    megabytes = [outcome.state.learner.memory.bytes / 1e6] + [0.0] * (len(curves) - 1)
    for curve, size in zip(curves, megabytes, strict=True):
        summary = curve.summary()
        table.add_row(
            curve.name, f"{summary.accuracy:.1f}", f"{summary.average_accuracy:.1f}",
            f"{summary.forgetting:.1f}", f"{size:.2f}",
        )  # fmt: skip
    console.print(table)
    _show_cost(console, outcome)
    console.print(f"picture: {out / 'report.png'}   figures: {out / 'summary.json'}")


def _show_cost(console: Console, outcome: run.Outcome) -> None:
    """What one event of this session would cost on the simulated chip."""
    session_, chosen = outcome.session, outcome.session.settings
    images = [len(event) for event in session_.stream.events[1:]]
    if not images:
        return
    event = EventSetting(
        session_.cut.network,
        session_.cut.latent_layer,
        replays=chosen.replays,
        bits=chosen.bits,
        images=max(images),
        epochs=chosen.protocol.epochs,
        minibatch=chosen.protocol.minibatch,
    )
    cost = event_cost_summary(event)
    fits = "fits" if cost.fits_memory else "does not fit"
    console.print(
        f"one event of {max(images)} images on {cost.platform} (simulated): "
        f"{cost.seconds:.3g} s, {cost.joules:.3g} J, {cost.memory_bytes / 1e6:.3g} MB of memory, "
        f"which {fits}; rests on recalled figures: {', '.join(cost.unproven) or 'none'}"
    )


def _say_stopping(signal_name: str) -> None:
    text = f"{signal_name}: finishing the event and saving; once more stops at once without saving"
    print(text, file=sys.stderr, flush=True)


def _interrupted(console: Console, out: Path, stop: interrupt.Stop) -> int:
    console.print(f"stopped and saved; go on with the same command (--out {out})")
    return stop.exit_code


@contextmanager
def _progress(
    console: Console,
) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[Record], None]]]:
    """Bars on a terminal, a plain line an event elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[state]}"))  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, int] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, state="")
            progress.update(progress.tasks[tasks[what]].id, completed=done, total=total)

        def on_event(record: Record) -> None:
            accuracy = record.get("accuracy")
            state = "" if accuracy is None else f"accuracy {100 * accuracy:.1f} %"
            if console.is_terminal:
                on_progress("events", record["event"] + 1, record["of"])
                progress.update(progress.tasks[tasks["events"]].id, state=state)
            else:
                print(
                    f"event {record['event'] + 1}/{record['of']}: "
                    f"{', '.join(record['classes'][:5])}; {state}",
                    file=sys.stderr,
                )

        yield on_progress, on_event
