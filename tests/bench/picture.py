"""The ratios of a bench as one picture: bars with quartiles, a line where both are as fast."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_COLOURS = ("#1b6ca8", "#c8553d", "#5a8f4e", "#8a6bb1")
_FROZEN = {
    "c / qdq": "C kernel / ONNX Runtime, our QDQ graph",
    "c / own tools": "C kernel / ONNX Runtime, its own tools' graph",
    "jax int8 / float32": "pure JAX int8 / ONNX Runtime float32",
    "jax float32 / float32": "JAX float32 / ONNX Runtime float32",
}


def png(facts: dict) -> bytes:
    """A PNG of what `python -m bench` measured."""
    figure = Figure(figsize=(10, 6.5), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, height_ratios=(3, 2))
    rows = facts["frozen"]
    labels = [f"l = {row['layer']}\nbatch {row['batch']}" for row in rows]
    _bars(above, labels, [([row[key] for row in rows], text) for key, text in _FROZEN.items()])
    above.set_title("Frozen stage, images of 128 x 128", loc="left")
    rows = facts["training"]
    labels = [f"l = {row['layer']}" for row in rows]
    groups = []
    if all(row["/ pytorch"] for row in rows):
        groups.append(([row["/ pytorch"] for row in rows], "training step / PyTorch"))
    shares = [{"times": row["share of product"]} for row in rows]
    groups.append((shares, "GMAC/s of a training step / of a bare float32 product"))
    _bars(below, labels, groups)
    below.set_title("Training step, 128 latents", loc="left")
    FigureCanvasAgg(figure)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": ""})
    return out.getvalue()


def _bars(axes, labels: list[str], groups: list[tuple[list[dict], str]]) -> None:
    width = 0.8 / len(groups)
    for index, (values, name) in enumerate(groups):
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(values))]
        heights = [value["times"] for value in values]
        axes.bar(places, heights, 0.92 * width, color=_COLOURS[index], label=name)
        if "low" in values[0]:
            low = [value["times"] - value["low"] for value in values]
            high = [value["high"] - value["times"] for value in values]
            style = {"fmt": "none", "ecolor": "#333333", "elinewidth": 0.9, "capsize": 2}
            axes.errorbar(places, heights, [low, high], **style)
    axes.axhline(1, color="#333333", linewidth=0.9)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel("times as fast")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, ncols=2, loc="lower left", bbox_to_anchor=(0.3, 1))
