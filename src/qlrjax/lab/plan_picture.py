"""The Pareto picture of a plan: worth against memory, energy and time, and where the limits are."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from qlrjax import report
from qlrjax.lab.plan import Answer, Costed

_BITS = {8: "#1b6ca8", 7: "#5a8f4e", 6: "#c8553d"}
_OTHER = "#8a6bb1"
_NAMED_AT_MOST = 6


def picture(answer: Answer, title: str) -> bytes:
    """A PNG with a panel each for memory, energy and time; without accuracies, layers stand up."""
    figure = Figure(figsize=(12.5, 4.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    limits = answer.limits
    panels = (
        ("memory (MB)", lambda one: one.memory_bytes / 1e6, _scaled(limits.memory_bytes, 1e-6)),
        ("energy of an event (J)", lambda one: one.joules, None),
        ("time of an event (s)", lambda one: one.seconds, limits.event_seconds),
    )
    axes = figure.subplots(1, len(panels), sharey=True)
    front = {id(one) for one in answer.front}
    for axis, (label, value, limit) in zip(axes, panels, strict=True):
        for bits in sorted({one.choice.bits for one in answer.costed}, reverse=True):
            mine = [one for one in answer.costed if one.choice.bits == bits]
            colour = _BITS.get(bits, _OTHER)
            for on_front in (False, True):
                shown = [one for one in mine if (id(one) in front) == on_front]
                axis.errorbar(
                    [value(one) for one in shown],
                    [height(one) for one in shown],
                    [(one.measured.spread or 0.0) if one.measured else 0.0 for one in shown],
                    fmt="o",
                    ms=5 if on_front else 3,
                    mfc=colour if on_front else "none",
                    color=colour,
                    alpha=1.0 if on_front else 0.45,
                    elinewidth=0.7,
                    label=f"{bits} bits, on the front" if on_front else None,
                )
        if limit is not None:
            axis.axvline(limit, color="black", ls="--", lw=0.9, label="allowed")
        if answer.recommended is not None:
            axis.plot(
                value(answer.recommended),
                height(answer.recommended),
                marker="*",
                ms=15,
                mfc="#f2b134",
                mec="black",
                ls="none",
                label="recommended",
            )
        _name_front(axis, answer, value)
        axis.set_xlabel(f"{label}, simulated")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    has_accuracy = any(one.measured for one in answer.costed)
    axes[0].set_ylabel(
        "accuracy (%), measured;\nmean and standard deviation of the seeds"
        if has_accuracy
        else "first trained layer\n(accuracy is not known)"
    )
    lines, labels = axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=8)
    figure.suptitle(f"{title} (named by layer: replays x bits)", fontsize=10)
    return report.png(figure)


def _name_front(axis: Axes, answer: Answer, value: Callable[[Costed], float]) -> None:
    """Says which settings are on the front, and gives the log axis plain figures."""
    for one in answer.front[:_NAMED_AT_MOST]:
        axis.annotate(
            f"{one.choice.latent_layer}: {one.choice.replays} x {one.choice.bits}",
            (value(one), height(one)),
            (6, -11),
            textcoords="offset points",
            fontsize=7,
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def height(one: Costed) -> float:
    """Accuracy in percent, or the layer where there is none."""
    return one.measured.mean if one.measured else float(one.choice.latent_layer)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
