"""Tables of `qlrjax hw`: for people, as JSON, as CSV. Units are in the keys."""

import csv
import io
import sys
from typing import Any

from pulpsim.cost.platform import Platform
from pulpsim.event import tables
from pulpsim.event.event import EventCost
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Rows = list[dict[str, Any]]


def show(title: str, rows: Rows) -> None:
    """A table for people, keys as headers, on standard output."""
    grid = Table(title=title)
    for key in rows[0]:
        number = any(isinstance(row[key], int | float) for row in rows)
        grid.add_column(escape(_header(key)), justify="right" if number else "left")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row.values()))
    # A file or a pipe has no width: whole words there, not a guess of 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    console.print(grid)


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
