"""`qlrjax run`: learn a stream of events into a folder, with progress, and contrast no replays."""

import argparse
import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from qlrjax import files, presets, settings
from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.names import for_rich, printable
from qlrjax.runs import interrupt
from qlrjax.runs.runfolder import Record
from qlrjax.settings import Settings

if TYPE_CHECKING:  # JAX is loaded when there is something to learn, so that --help answers at once
    from qlrjax.runs import run

_CONTRASTS = (
    ("cwr*", "no replays, CWR* head", "no-replay-cwrstar"),
    ("plain", "no replays, fine-tuned", "no-replay"),
)


@dataclasses.dataclass(frozen=True)
class Also:
    """What `qlrjax run` does beside learning.

    Attributes:
        contrast: Also learn the same stream without replays, to show what they are worth.
        tensorboard: Also write TensorBoard event files, into the run's folder tensorboard.
    """

    contrast: bool = True
    tensorboard: bool = False


@dataclasses.dataclass(frozen=True)
class RunArguments:
    """Learn a stream of events, or go on with an unfinished run in the same folder.

    Attributes:
        out: The run's folder; made if it is not there.
        settings: All settings.
        preset: Strategy to start from: default, ar1star-free, ar1star, cwrstar, fine-tuning,
            ncm-cosine, ncm-mahalanobis, ncm-root, native-rehearsal or joint. A run that is gone on
            with starts from its own settings.
        config: TOML file of settings; flags win over it.
        cut: Name of the layer after which to cut, see qlrjax network; instead of --latent-layer.
        fresh: Throw an earlier run in the folder away and start anew, its settings, too.
        also: What else it does.
    """

    out: Path
    settings: Annotated[Settings, tyro.conf.OmitArgPrefixes]
    preset: str = "default"
    config: Path | None = None
    cut: str | None = None
    fresh: bool = False
    also: Annotated[Also, tyro.conf.OmitArgPrefixes] = Also()


def parse(words: Sequence[str]) -> RunArguments:
    """Flags over the TOML file, the preset, or the settings of the run in the folder.

    Raises:
        ValueError: The flags, the file or the preset is not usable.
        SystemExit: Help was asked for.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--out", type=Path)
    early.add_argument("--config", type=Path)
    early.add_argument("--preset")
    early.add_argument("--fresh", action="store_true")
    try:
        known, _ = early.parse_known_args(list(words))
    except argparse.ArgumentError:  # tyro says what is wrong
        known = argparse.Namespace(out=None, config=None, preset=None, fresh=False)
    base = _base(known)

    def make(
        out: Path,
        settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = base,
        preset: str = known.preset or "default",
        config: Path | None = known.config,
        cut: str | None = None,
        fresh: bool = False,
        also: Annotated[Also, tyro.conf.OmitArgPrefixes] = Also(),
    ) -> RunArguments:
        if cut is not None:
            settings = _cut_after(settings, cut)
        return RunArguments(out, settings, preset, config, cut, fresh, also)

    make.__doc__ = RunArguments.__doc__
    return parse_arguments(make, words, "qlrjax run")


def _base(known: argparse.Namespace) -> Settings:
    if known.config:
        return settings.load(known.config)
    if known.preset is None and known.out is not None and not known.fresh:
        from qlrjax.runs import run

        own = run.own_settings(known.out)
        if own is not None:
            return own
    return presets.preset(known.preset or "default")


def _cut_after(chosen: Settings, name: str) -> Settings:
    from qlrjax import weights

    network = weights.outline(chosen.weights, 1, chosen.resolution)
    return dataclasses.replace(chosen, latent_layer=network.latent_layer_after(name))


def main(words: Sequence[str], stop: interrupt.Stop) -> int:
    """Runs, resumes or shows a session; exit code 0, or 130 and 143 when interrupted."""
    arguments = parse(words)
    console = Console(stderr=True)
    try:
        return _run(arguments, console, stop)
    except interrupt.Interrupted:
        return _interrupted(console, arguments.out, stop)


def _run(arguments: RunArguments, console: Console, stop: interrupt.Stop) -> int:
    out, chosen = arguments.out, arguments.settings
    with show.progress(console, name_of(chosen)) as shown:
        outcome = _learn(arguments, shown, stop)
    show.notes(console, outcome.notes)
    if not outcome.finished:
        return _interrupted(console, out, stop)
    if not outcome.seconds:
        text = f"the run in {out} is finished; --fresh starts it anew"
        console.print(for_rich(text), soft_wrap=True)
    curves = [outcome.curve(name_of(chosen))]
    if arguments.also.contrast and chosen.replays:
        curves += _contrast(outcome, arguments, console, stop)
        if stop.requested:
            return _interrupted(console, out, stop)
    # Drawing takes a second to import, which nothing before this needs.
    from qlrjax import report
    from qlrjax.cli import run_show

    files.write_atomic(out / "report.png", report.picture(curves))
    run_show.show(Console(), curves, outcome, out)
    return 0


def _learn(arguments: RunArguments, shown: show.Shown, stop: interrupt.Stop) -> "run.Outcome":
    """The run itself, with event files where they are asked for."""
    from qlrjax.runs import run

    on_progress, on_event = shown
    chosen, out, fresh = arguments.settings, arguments.out, arguments.fresh
    if not arguments.also.tensorboard:
        return run.run(
            chosen, out, fresh=fresh, on_event=on_event, on_progress=on_progress, stop=stop
        )
    from qlrjax.runs import scalars

    scalars.check()
    with contextlib.ExitStack() as stack:
        writer: list[scalars.Writer] = []

        def heard(record: Record) -> None:
            if not writer:  # by now the folder is the run's
                writer.append(stack.enter_context(scalars.writing(out)))
            writer[0].event(record)
            on_event(record)

        outcome = run.run(
            chosen, out, fresh=fresh, on_event=heard, on_progress=on_progress, stop=stop
        )
        if writer:
            writer[0].finish(outcome.records, outcome.session.class_names)
    return outcome


def _contrast(
    outcome: "run.Outcome", arguments: RunArguments, console: Console, stop: interrupt.Stop
) -> list:
    """The same stream without replays: with the consolidated head, and plainly fine-tuned.

    Mini-batches keep their new latents and lose the replayed ones, so that from the second event on
    both sides make the same number of updates from the same images.
    """
    from qlrjax import session
    from qlrjax.runs import run
    from qlrjax.training import minibatch

    curves = []
    largest = max(len(event) for event in outcome.session.stream.events)
    chosen = outcome.session.settings
    share = minibatch.compose(largest, chosen.replays, chosen.protocol.minibatch, False).new
    for classifier, name, folder in _CONTRASTS:
        protocol = dataclasses.replace(chosen.protocol, classifier=classifier, minibatch=share)
        without = dataclasses.replace(chosen, replays=0, protocol=protocol)
        with show.progress(console, name) as (_, on_event):
            other = run.run(
                without,
                arguments.out / folder,
                fresh=arguments.fresh,
                on_event=on_event,
                stop=stop,
                session=session.with_settings(outcome.session, without),
            )
        show.notes(console, other.notes)
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


def _interrupted(console: Console, out: Path, stop: interrupt.Stop) -> int:
    text = f"stopped and saved; go on with: qlrjax run --out {printable(out)}"
    console.print(for_rich(text), soft_wrap=True)
    return stop.exit_code
