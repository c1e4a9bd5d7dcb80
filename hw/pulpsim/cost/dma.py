"""Time of a transfer of the cluster DMA, as measured on its RTL (64-bit bus, bursts of 256 bytes).

1D, L2 to L1, B bytes: B/8 + 2 (ceil(B/256) - 1) + 15 + L cycles from the last command write to the
event; 2D, rows of b bytes: rows (b/8 + 2) + 12 + L. L is the latency of the L2 side. Towards L2 the
gap is 3 cycles. Other bus widths follow by replacing 8; that part is not measured.

Everything works on numbers, NumPy arrays and traced JAX arrays alike; whole numbers may be floats.
"""

from typing import Any

from pulpsim.cost.chip import Dma

# Arrays of any library, or numbers; the arithmetic below is the same for all.
Numbers = Any


def ceil_div(a: Numbers, b: Numbers) -> Numbers:
    """ceil(a / b) of whole numbers."""
    return -(-a // b)


def cycles_1d(
    size_bytes: Numbers, dma: Dma, *, write: bool = False, bus_bytes: Numbers | None = None
) -> Numbers:
    """Cycles of one contiguous transfer of `size_bytes` > 0.

    Args:
        size_bytes: What is moved.
        dma: The engine.
        write: L1 to L2.
        bus_bytes: Overrides the engine's bus width (may be traced).
    """
    bus = dma.bus_bytes if bus_bytes is None else bus_bytes
    gap = dma.write_gap_cycles if write else dma.read_gap_cycles
    beats = ceil_div(size_bytes, bus)
    bursts = ceil_div(size_bytes, dma.burst_bytes)
    return beats + gap * (bursts - 1) + dma.setup_1d_cycles + dma.l2_latency_cycles


def cycles_2d(
    rows: Numbers,
    row_bytes: Numbers,
    dma: Dma,
    *,
    write: bool = False,
    aligned: bool = True,
    bus_bytes: Numbers | None = None,
) -> Numbers:
    """Cycles of `rows` rows of `row_bytes` bytes each, strided in L2.

    Args:
        rows: Number of rows, > 0.
        row_bytes: Bytes of a row, > 0. Rows longer than a burst pay the gap per burst.
        dma: The engine.
        write: L1 to L2.
        aligned: Whether rows start at multiples of the bus width; otherwise half a cycle more each.
        bus_bytes: Overrides the engine's bus width (may be traced).
    """
    bus = dma.bus_bytes if bus_bytes is None else bus_bytes
    gap = dma.write_gap_cycles if write else dma.read_gap_cycles
    beats = ceil_div(row_bytes, bus)
    bursts = ceil_div(row_bytes, dma.burst_bytes)
    # Rows of one beat share the gap with their neighbour: 2 cycles each in all (3 when writing).
    single = 1 - ceil_div(beats - 1, beats)
    per_row = beats + gap * bursts - single
    skew = 0 if aligned else 0.5
    return rows * (per_row + skew) + dma.setup_2d_cycles + dma.l2_latency_cycles


def programming_cycles(transfers: Numbers, dma: Dma) -> Numbers:
    """Controller cycles to hand over `transfers` commands in one go, 0 for none."""
    some = ceil_div(transfers, transfers + 1)
    return some * (dma.program_cycles - dma.queued_cycles) + transfers * dma.queued_cycles
