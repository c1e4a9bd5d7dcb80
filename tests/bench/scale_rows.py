"""How the cost of a learning event grows: with mini-batches, replays, image side and classes.

A series is one setting that grows while all others stay; its exponent is the slope of a straight
line through the logarithms of medians. 1 is linear, below 1 is better.
"""

import numpy as np
from bench.training_rows import Case, event
from bench.turns import figure, interleaved, markdown, rounds

LAYER = 25
BASE = Case(LAYER)


def series() -> dict[str, list[tuple[float, Case]]]:
    """By its name: what grows, and the event."""
    replays = [128, 384, 896, 1920]
    return {
        "latents of a mini-batch": [
            (size, Case(LAYER, epochs=2, minibatch=size, new=size)) for size in (32, 64, 128, 256)
        ],
        "new latents and replays": [(128 + count, Case(LAYER, replays=count)) for count in replays],
        "pixels of an image": [
            (side * side, Case(LAYER, epochs=2, side=side)) for side in (64, 128, 256)
        ],
        "classes": [(count, Case(LAYER, epochs=2, classes=count)) for count in (10, 100, 1000)],
    }


def measure() -> list[dict]:
    """A row for every series; milliseconds of an event, medians."""
    rows = []
    for name, cases in series().items():
        calls = [event(case) for _, case in cases]
        milliseconds = 1e3 * np.median(interleaved(calls, rounds(7), seconds=10), axis=0)
        sizes = [size for size, _ in cases]
        slope = np.polyfit(np.log(sizes), np.log(milliseconds), 1)[0]
        values = list(map(figure, milliseconds))
        rows.append(
            {"series": name, "sizes": sizes, "ms": values, "exponent": figure(float(slope))}
        )
    return rows


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    cells = [
        [
            row["series"],
            ", ".join(f"{size:,}" for size in row["sizes"]),
            ", ".join(f"{value:.0f}" for value in row["ms"]),
            f"{row['exponent']:.2f}",
        ]
        for row in rows
    ]
    return markdown(("what grows", "from, to", "ms an event", "exponent"), cells)
