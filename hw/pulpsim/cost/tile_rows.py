"""Rows in the columns of `tiles.csv`: read into loops, and answered by the loop's law."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pulpsim.cost import loop
from pulpsim.cost.dma import NOTHING, Flow
from pulpsim.cost.loop import Rounds
from pulpsim.cost.machine import Machine
from pulpsim.cost.platform import Platform
from pulpsim.kernels import find

# What a row must say; the others of `COLUMNS` may be missing or empty.
NEEDED = (
    "kernel",
    "tile_shape",
    "tiles",
    "cores",
    "l2_latency",
    "transfers_per_tile_in",
    "transfers_per_tile_out",
)
GIVEN = ("case", "l2_duplex", *NEEDED, "stationary_prologue", "post", "l1_bytes")
ANSWERED = (
    "cycles_total",
    "cycles_compute_only",
    "cycles_dma_only",
    "prologue",
    "epilogue",
    "step_total",
    "step_compute_only",
    "step_dma_only",
    "dma_words_moved",
)
COLUMNS = (*GIVEN, *ANSWERED)
IN_PLACE = ("e1_sgd",)
_OUTSIDE_TILES = 2752  # bytes of L1 that hold stacks and argument words in the measured loops
# Kernels that take two input rows an output row, and one whose shape has both planes.
_STRIDE2 = (
    "d1s_s2",
    "d1s_col",
    "d2s_wgrad",
    "d2sa_wgrad",
    "i2s_dw",
    "i2sw_dw",
    "i3_conv",
    "i3w_conv",
)


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One queued command; a contiguous block has a single row."""

    rows: int
    row_bytes: int


def answers(
    rows: Sequence[Mapping[str, str]], platform: Platform
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with the cycles that the law gives, not the measured ones, and why some have none.

    Args:
        rows: By column: those of `NEEDED`, and of `GIVEN` where there. Measured ones are not read.
        platform: Whose engine it is; latency and duplex of L2 are the row's.
    """
    from pulpsim.cluster.simulator import run_kernels  # needs JAX, which the law does not
    from pulpsim.cluster.table import read_each

    jobs, refused = read_each(rows, lambda row: _job(row, platform))
    counts = iter(run_kernels([one for one in jobs if one is not None]))
    found = []
    for row, one in zip(rows, jobs, strict=True):
        given = {key: row.get(key) or "" for key in GIVEN}
        if one is None:
            found.append(given | dict.fromkeys(ANSWERED, ""))
        else:
            found.append(answer(row, float(next(counts).cycles), platform))
    return found, refused


def answer(row: Mapping[str, str], compute: float, platform: Platform) -> dict[str, Any]:
    """A row whose kernel takes `compute` cycles on a tile, contention among cores included.

    Raises:
        ValueError: A field cannot be read.
    """
    machine = _machine(row, platform)
    reads, writes = (transfers(row[f"transfers_per_tile_{way}"]) for way in ("in", "out"))
    firsts, lasts = (transfers(row.get(key) or "") for key in ("stationary_prologue", "post"))
    fetch, write = _flow(machine, reads, write=False), _flow(machine, writes, write=True)
    before, after = _flow(machine, firsts, write=False), _flow(machine, lasts, write=True)
    one = Rounds(float(_whole(row, "tiles", 1)), compute, fetch, write)
    waits = _two_buffers(row, reads)
    total, alone, busy = loop.loop_cycles(
        machine, [one], one, before=before, after=after, waits=waits
    )
    both = fetch + write
    moving = loop.queue(machine, fetch) + loop.queue(machine, write)
    step_dma = moving if waits else loop.queue(machine, both)
    moved = one.count * (_bytes(reads) + _bytes(writes)) + _bytes(firsts) + _bytes(lasts)
    figures = (
        total,
        alone + one.count * machine.tile_cycles,
        busy,
        loop.queue(machine, fetch + before),
        loop.queue(machine, write + after),
        loop.step(machine, one, waits=waits),
        compute + machine.tile_cycles,
        step_dma,
        moved / 4,
    )
    given = {key: row.get(key) or "" for key in GIVEN}
    return {**given, **dict(zip(ANSWERED, (round(float(one), 1) for one in figures), strict=True))}


def _machine(row: Mapping[str, str], platform: Platform) -> Machine:
    """The row's cluster: cores in a loop of their own, without an offload."""
    duplex = (row.get("l2_duplex") or "full").strip()
    if duplex not in ("full", "half"):
        raise ValueError(f"l2_duplex is full or half, not {duplex!r}")
    changed = platform.replace(
        **{
            "dma.l2_latency_cycles": _whole(row, "l2_latency", 0),
            "dma.l2_duplex": duplex,
            "cluster.offload_cycles": 0,
        }
    )
    cores = float(_whole(row, "cores", 1))
    return Machine(changed, np, cores, changed.cluster.l1_bytes, changed.dma, 0.0, {})


def _flow(machine: Machine, sent: tuple[Transfer, ...], *, write: bool) -> Flow:
    flows = [
        machine.transfer(float(one.rows), float(one.row_bytes), one.rows == 1, write)
        for one in sent
    ]
    return sum(flows, NOTHING)


def _bytes(sent: tuple[Transfer, ...]) -> int:
    return sum(one.rows * one.row_bytes for one in sent)


def _two_buffers(row: Mapping[str, str], inputs: tuple[Transfer, ...]) -> bool:
    """Whether operands in place have two buffers only, told by its name or by the L1 it takes."""
    if row["kernel"] not in IN_PLACE:
        return False
    taken = row.get("l1_bytes") or ""
    too_small = taken.isdigit() and 0 < int(taken) < 3 * _bytes(inputs) + _OUTSIDE_TILES
    return "2buf" in (row.get("case") or "") or too_small


def transfers(text: str) -> tuple[Transfer, ...]:
    """`4096B in 1D; 1024B in 2D 32x32` as transfers; rows of a 2D one are `rows x bytes`.

    Raises:
        ValueError: Not such a list.
    """
    found = []
    for part in filter(None, (one.strip() for one in text.split(";"))):
        match = re.fullmatch(r"(\d+)B (?:in|out) (?:1D|2D (\d+)x(\d+))", part)
        if not match or not int(match[1]):
            raise ValueError(
                f"{part!r} is no transfer; write 4096B in 1D, or 1024B out 2D 32x32 (rows x bytes)"
            )
        rows, row_bytes = (int(match[2]), int(match[3])) if match[2] else (1, int(match[1]))
        if rows * row_bytes != int(match[1]):
            raise ValueError(f"{part!r} has {rows} x {row_bytes} bytes in its rows")
        found.append(Transfer(rows, row_bytes))
    return tuple(found)


def tile_of(kernel: str, text: str) -> str:
    """The kernel's shape of one tile of a layer.

    `N8 K64 M64 tile m4` is 8x64x4 (a product), `C16 32x32 tile c16 r4` C16_6x34 (four rows of
    outputs and their padded input), `n6144 tile 1024` n1024. A shape of the kernel behind `tile`
    is taken as it stands.

    Raises:
        ValueError: The text is no tiled layer.
    """
    layer, _, tile = (part.strip() for part in text.partition(" tile "))
    if not tile:
        raise ValueError(
            f"tile_shape {text!r} of {kernel} has no tile; write it like 'n6144 tile 1024'"
        )
    form = find(kernel).shape.form
    if re.fullmatch(re.sub(r"\{\w+\}", r"\\d+", form), tile):
        return tile
    whole = {name.lower(): int(size) for name, size in re.findall(r"\b([A-Za-z]+)(\d+)\b", layer)}
    cut = {name.lower(): int(size) for name, size in re.findall(r"\b([A-Za-z]+)(\d+)\b", tile)}
    if tile.isdigit():
        cut = {"n": int(tile)}
    plane = re.search(r"\b(\d+)x(\d+)\b", layer)
    sizes = whole | cut
    if plane:
        rows, columns = cut.get("r", int(plane[1])), int(plane[2])
        sizes |= {"rows": rows, "columns": columns, "hw": sizes.get("hw", rows * columns)}
    try:
        return _shape(kernel, form, sizes)
    except KeyError as missing:
        raise ValueError(
            f"tile_shape {text!r} of {kernel} does not say {missing}; write it like "
            "'N8 K64 M64 tile m4', 'C16 32x32 tile c16 r4' or 'n6144 tile 1024'"
        ) from None


def _shape(kernel: str, form: str, sizes: Mapping[str, int]) -> str:
    first = form.partition("{")[0]
    if first == "n":
        return f"n{sizes['n']}"
    if "HW" in form:
        return f"C{sizes['c']}_HW{sizes['hw']}"
    if "to{" in form:  # the gradient of the output, and of the input
        rows, columns = sizes["rows"], sizes["columns"]
        return f"C{sizes['c']}_{rows}x{columns}to{2 * rows}x{2 * columns}"
    if first in ("C", "N"):
        rows, columns = sizes["rows"], sizes["columns"]
        padded = (2 * rows + 1, 2 * columns + 1) if kernel in _STRIDE2 else (rows + 2, columns + 2)
        return f"{first}{sizes[first.lower()]}_{padded[0]}x{padded[1]}"
    if first == "M":
        return f"M{sizes['m']}"
    names = ("n", "k", "m") if form.count("{") == 3 else ("n", "k")
    return "x".join(str(sizes[name]) for name in names)


def _job(row: Mapping[str, str], platform: Platform) -> Any:
    """The kernel's run on a tile, once everything else in the row is found readable."""
    from pulpsim.cluster.simulator import Job, check

    missing = [key for key in NEEDED if row.get(key) is None]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    answer(row, 1.0, platform)
    tile = tile_of(row["kernel"], row["tile_shape"])
    job = Job(row["kernel"], tile, _whole(row, "cores", 1))
    check(job)
    return job


def _whole(row: Mapping[str, str], key: str, least: int) -> int:
    text = row[key].strip()
    if not text.isdigit() or int(text) < least:
        raise ValueError(f"{key} is a whole number of at least {least}, not {text!r}")
    return int(text)
