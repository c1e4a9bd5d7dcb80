"""Writing what an experiment found: rows as CSV, all as JSON, a picture; each in one step."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qlrjax.files import write_atomic

Rows = list[dict[str, Any]]


def figure(width_inches: float, height_inches: float) -> Figure:
    """A new picture that belongs to no window."""
    made = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(out: Path, name: str, rows: Rows, picture: Figure, **extra: Any) -> None:
    """Writes NAME.csv, NAME.json and NAME.png into a folder.

    Args:
        out: The folder, made if it is not there.
        name: Of the files.
        rows: The table; units are in the keys.
        picture: Drawn from it.
        **extra: Goes into the JSON beside the rows.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(out / f"{name}.csv", text.getvalue())
    write_atomic(out / f"{name}.json", json.dumps({**extra, "rows": rows}, indent=1) + "\n")
    image = io.BytesIO()
    picture.savefig(image, format="png", dpi=110)
    write_atomic(out / f"{name}.png", image.getvalue())
