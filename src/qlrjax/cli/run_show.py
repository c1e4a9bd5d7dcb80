"""The last lines of `qlrjax run`: accuracies, what was tested, what an event costs on a chip."""

from collections.abc import Sequence
from pathlib import Path

from pulpsim.event.event import event_cost_summary
from pulpsim.event.setting import EventSetting
from rich.console import Console

from qlrjax import report
from qlrjax.cli import show as shown
from qlrjax.names import for_rich
from qlrjax.runs import results, run

_COLUMNS = ("strategy", "accuracy (%)", "average (%)", "forgetting (points)", "replays (MB)")


def show(console: Console, curves: Sequence[report.Curve], outcome: run.Outcome, out: Path) -> None:
    """The result as a table, and where the rest of it lies."""
    megabytes = [outcome.state.learner.memory.bytes / 1e6] + [0.0] * (len(curves) - 1)
    rows = []
    for curve, size in zip(curves, megabytes, strict=True):
        summary = curve.summary()
        figures = (summary.accuracy, summary.average_accuracy, summary.forgetting)
        rows.append([curve.name, *(f"{figure:.1f}" for figure in figures), f"{size:.2f}"])
    source, events = outcome.session.stream.source, outcome.session.events
    console.print(shown.table(f"{source.name}: after {events} events", _COLUMNS, rows))
    for line in (tested(outcome), cost(outcome)):
        if line:
            console.print(for_rich(line), soft_wrap=True)
    places = f"picture: {out / 'report.png'}   figures: {out / 'summary.json'}"
    console.print(for_rich(places), soft_wrap=True)


def tested(outcome: run.Outcome) -> str:
    """Which images the accuracies are of."""
    sessions = results.test_sessions(outcome.session)
    images = len(outcome.session.stream.test)
    where = f"session{'s' if len(sessions) > 1 else ''} {', '.join(map(str, sessions))}"
    return f"tested on {images} images of {where}, which no event learns from"


def cost(outcome: run.Outcome) -> str:
    """What one event of this session would cost on the simulated chip; empty without one."""
    session, chosen = outcome.session, outcome.session.settings
    images = [len(event) for event in session.stream.events[1:]]
    if not images:
        return ""
    protocol = chosen.protocol
    own = protocol.normalization in ("renorm", "batch") and protocol.train_layers
    try:
        event = EventSetting(
            session.cut.network,
            session.cut.latent_layer,
            replays=chosen.replays,
            bits=chosen.bits,
            images=max(images),
            epochs=protocol.epochs,
            minibatch=protocol.minibatch,
            drop_remainder=protocol.drop_remainder,
            statistics="minibatch" if own else "running",
            maps=protocol.maps,
            train_layers=protocol.train_layers,
        )
        found = event_cost_summary(event)
    except ValueError as error:
        return f"one event of {max(images)} images is not costed on a chip: {error}"
    frozen = "" if chosen.frozen == "int8" else ", the frozen stage as integers"
    fits = "fits" if found.fits_memory else "does not fit"
    rest = "dropped" if protocol.drop_remainder else "learned"
    memory = "float32" if chosen.bits == 32 else f"{chosen.bits}-bit"
    words = event.words
    if protocol.normalization == "batch":  # the same passes: r = 1 and d = 0
        words = words.replace("batch renorm", "batch norm")
    what = f"(simulated; {words}, {memory} replays, remainder {rest}{frozen})"
    return (
        f"one event of {max(images)} images on {found.platform} {what}: "
        f"{found.seconds:.3g} s, {found.joules:.3g} J, {found.memory_bytes / 1e6:.3g} MB of "
        f"memory, which {fits}; rests on recalled figures: {', '.join(found.unproven) or 'none'}"
    )
