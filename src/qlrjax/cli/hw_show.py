"""Tables of `qlrjax hw`: for people, as JSON, as CSV. Units are in the keys."""

import csv
import dataclasses
import io
import json
import shutil
import sys
from typing import Any

from pulpsim.cost.platform import Platform
from pulpsim.event import tables
from pulpsim.event.event import EventCost
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qlrjax.network import Layer, Network

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Output:
    """How results are shown.

    Attributes:
        json: Print JSON and nothing else.
        csv: Print CSV and nothing else.
        columns: Show only these columns of the main table, named as in JSON and CSV. Tables that
            are wider than the terminal are folded.
    """

    json: bool = False
    csv: bool = False
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other; give one of them")

    def select(self, rows: Rows) -> Rows:
        """The chosen columns of a table.

        Raises:
            ValueError: There is no such column.
        """
        for name in self.columns:
            if name not in rows[0]:
                raise ValueError(f"there is no column {name!r}; choose from {', '.join(rows[0])}")
        return [{name: row[name] for name in self.columns or row} for row in rows]


AS_TABLE = Output()
_HEADS = ("layer", "name", "step", "latent_layer", "tensor", "kernel", "shape")


def show(title: str, rows: Rows) -> None:
    """A table for people, keys as headers, folded where it is wider than the terminal.

    A pipe or file counts as 80 columns wide unless `COLUMNS` says otherwise.
    """
    width = shutil.get_terminal_size(fallback=(80, 24)).columns
    # Rendered first, so that a closed pipe is met in one place only, by `print`.
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=sys.stdout.isatty())
    parts = fold(rows, width)
    for number, keys in enumerate(parts, 1):
        grid = Table(title=title if len(parts) == 1 else f"{title} ({number} of {len(parts)})")
        for key in keys:
            number_column = any(isinstance(row[key], int | float) for row in rows)
            justify = "right" if number_column else "left"
            grid.add_column(escape(_header(key)), justify=justify, width=_width(key, rows))
        for row in rows:
            grid.add_row(*(escape(_cell(row[key])) for key in keys))
        console.print(grid)
    print(text.getvalue(), end="")


def fold(rows: Rows, width: int) -> list[list[str]]:
    """Columns of each part of a table, so that every part fits; each begins with the row's name.

    Args:
        rows: The table.
        width: Of the terminal, characters.
    """
    keys = list(rows[0])
    heads = keys[:1]
    for key in keys[1:]:  # as far as a name goes, and at most two thirds of the width
        if key not in _HEADS or _total([*heads, key], rows) > 2 * width // 3:
            break
        heads.append(key)
    parts = [list(heads)]
    for key in keys[len(heads) :]:
        if len(parts[-1]) > len(heads) and _total([*parts[-1], key], rows) > width:
            parts.append(list(heads))
        parts[-1].append(key)
    return parts


def _total(keys: list[str], rows: Rows) -> int:
    return sum(_width(key, rows) + 3 for key in keys) + 1  # a space on either side, and a line


def _width(key: str, rows: Rows) -> int:
    words = _header(key).split()  # headers may break between words
    return max(len(text) for text in (*words, *(_cell(row[key]) for row in rows)))


def _header(key: str) -> str:
    name, _, unit = key.rpartition("_")
    known = {"s": "s", "J": "J", "W": "W", "MB": "MB", "bytes": "bytes", "h": "h"}
    if key in ("MMAC", "us", "cycles", "bytes", "s", "J"):
        return key
    if key.endswith("mac_per_cycle"):
        return key.replace("mac_per_cycle", "MAC/cycle").replace("_", " ")
    if unit in known:
        return f"{name.replace('_', ' ')} [{known[unit]}]"
    return key.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def csv_text(rows: Rows) -> str:
    """Rows as CSV, keys in the first line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def say(result: EventCost, whole: dict[str, Any]) -> None:
    """Prints what an event comes to, in sentences."""
    setting = result.setting
    print(
        f"{whole['event_s']:.4g} s, {whole['event_J']:.4g} J, {1000 * whole['power_W']:.3g} mW "
        f"while busy, {whole['mac_per_cycle']:.3g} MAC/cycle.\n"
        f"{setting.images} images, {setting.iterations} mini-batches of "
        f"{setting.new_per_minibatch} new and "
        f"{setting.samples_per_minibatch - setting.new_per_minibatch} replayed latents."
    )
    rate = whole["events_per_hour"]
    if whole["lifetime_h"] is None:
        print(f"{rate:g} events an hour are too many: an event takes {whole['event_s']:.4g} s.")
    else:
        print(f"{whole['lifetime_h']:.4g} h of battery at {rate:g} events an hour.")
    print(
        f"{whole['memory_bytes'] / 1e6:.4g} MB of memory in all"
        + ("." if whole["fits"] else ": more than the chip has.")
    )


def notes(chips: list[Platform]) -> list[str]:
    """The recalled and assumed figures that costs on these chips rest on."""
    paths = (*tables.TIME_PATHS, *tables.ENERGY_PATHS, *tables.BATTERY_PATHS)
    return [note for chip in chips for note in tables.unproven(chip, *paths)]


def foot(chips: list[Platform]) -> None:
    """Prints `notes` below a table."""
    found = notes(chips)
    if found:
        print("Simulated. Rests on values that are not proven:\n  " + "\n  ".join(found))


def print_rows(title: str, rows: Rows, output: Output, chips: list[Platform]) -> None:
    """A table as `output` says, and what it rests on on these chips."""
    rows = output.select(rows)
    if output.json:
        print(json.dumps({"rows": rows, "unproven": notes(chips)}, indent=1))
    elif output.csv:
        print(csv_text(rows), end="")
    else:
        show(title, rows)
        foot(chips)


def layer_of(network: Network, text: str) -> Layer:
    """A layer by its number or its name.

    Raises:
        ValueError: There is none.
    """
    for row in network.layers:
        if text in (str(row.index), row.name):
            return row
    raise ValueError(
        f"there is no layer {text}: this network has layers 0 to {network.last}; choose one of them"
    )
