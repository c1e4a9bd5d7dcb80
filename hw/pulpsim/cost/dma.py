"""Time of transfers of the cluster DMA, as measured on its RTL (64-bit bus, bursts of 256 bytes).

Each direction of the engine moves a beat a cycle and pays a gap for every burst, or for every row
of a strided block: 2 cycles towards L1, 3 towards L2. Rows of a single beat share a gap, rows that
are no whole number of beats cost half a cycle more. Eight bursts are outstanding: each beyond the
eighth waits for the round trip of the one eight before it, (latency + beats + 2) / 8 cycles. That
is so for 32 rows of 16 bytes at every latency measured, 10 to 200 cycles.

Transfers that are queued together share one set-up and one latency, and the longer direction hides
the other but for 3 % of it (7.53 bytes a cycle one way, 7.32 with both). Where L2 serves one beat a
cycle for both directions (`l2_duplex` half), all beats queue up there, and turning takes 25 cycles
more. Other bus widths follow by replacing 8; that part is not measured.

Everything works on numbers, NumPy arrays and traced JAX arrays alike; whole numbers may be floats.
"""

import dataclasses
from typing import Any

from pulpsim.cost.chip import Dma

# Arrays of any library, or numbers; the arithmetic below is the same for all.
Numbers = Any
OUTSTANDING = 8
OVERLAP = 0.03  # of the shorter direction that the longer one does not hide
TURNING_CYCLES = 25  # of a queue that goes both ways through a half-duplex L2: 54 to 94, not 43 on


@dataclasses.dataclass(frozen=True)
class Flow:
    """What queued transfers ask of the engine; `+` queues another behind.

    Attributes:
        commands: Transfers.
        read_cycles: The direction towards L1 is held: beats, gaps, round trips.
        write_cycles: Likewise towards L2.
        read_slack: Of `read_cycles`, those that only wait for round trips.
        write_slack: Likewise.
        read_beats: Words of the bus moved towards L1.
        write_beats: Likewise towards L2.
    """

    commands: Numbers = 0.0
    read_cycles: Numbers = 0.0
    write_cycles: Numbers = 0.0
    read_slack: Numbers = 0.0
    write_slack: Numbers = 0.0
    read_beats: Numbers = 0.0
    write_beats: Numbers = 0.0

    def __add__(self, other: "Flow") -> "Flow":
        return Flow(*(mine + theirs for mine, theirs in zip(self.parts, other.parts, strict=True)))

    def times(self, count: Numbers) -> "Flow":
        """So many of these queued."""
        return Flow(*(part * count for part in self.parts))

    @property
    def parts(self) -> tuple[Numbers, ...]:
        """All values, in order."""
        return (
            self.commands,
            self.read_cycles,
            self.write_cycles,
            self.read_slack,
            self.write_slack,
            self.read_beats,
            self.write_beats,
        )

    @property
    def beats(self) -> Numbers:
        """Words of the bus moved in both directions."""
        return self.read_beats + self.write_beats


NOTHING = Flow()


def either(condition: Any, first: Flow, second: Flow, xp: Any) -> Flow:
    """`first` where the condition holds, else `second`."""
    pairs = zip(first.parts, second.parts, strict=True)
    return Flow(*(_where(condition, mine, theirs, xp) for mine, theirs in pairs))


def _where(condition: Any, mine: Numbers, theirs: Numbers, xp: Any) -> Numbers:
    if isinstance(mine, float) and isinstance(theirs, float) and mine == theirs:
        return mine
    return xp.where(condition, mine, theirs)


def ceil_div(a: Numbers, b: Numbers) -> Numbers:
    """ceil(a / b) of whole numbers."""
    return -(-a // b)


def block(size_bytes: Numbers, dma: Dma, xp: Any, *, write: bool = False) -> Flow:
    """A contiguous transfer of `size_bytes` > 0."""
    gap = dma.write_gap_cycles if write else dma.read_gap_cycles
    beats, bursts = xp.ceil(size_bytes / dma.bus_bytes), xp.ceil(size_bytes / dma.burst_bytes)
    return _flow(beats, bursts, beats / bursts + gap, dma.setup_1d_cycles - gap, dma, xp, write)


def strided(rows: Numbers, row_bytes: Numbers, dma: Dma, xp: Any, *, write: bool = False) -> Flow:
    """`rows` > 0 rows of `row_bytes` > 0 bytes, apart in L2; long rows take several bursts."""
    gap = dma.write_gap_cycles if write else dma.read_gap_cycles
    exact = row_bytes / dma.bus_bytes
    beats, bursts = xp.ceil(exact), xp.ceil(row_bytes / dma.burst_bytes)
    shared_gap, skew = beats <= 1, 0.5 * (beats != exact)
    burst = (beats + gap * bursts - shared_gap + skew) / bursts
    return _flow(rows * beats, rows * bursts, burst, dma.setup_2d_cycles, dma, xp, write)


def _flow(
    beats: Numbers, bursts: Numbers, burst: Numbers, setup: int, dma: Dma, xp: Any, write: bool
) -> Flow:
    """A transfer of so many bursts of `burst` cycles each."""
    cycles = bursts * burst + (setup - _setup(dma))
    slack: Numbers = 0.0
    # A burst of one beat takes its gap; behind a small latency not even that waits.
    shortest = max(1, min(dma.read_gap_cycles, dma.write_gap_cycles))
    if dma.l2_latency_cycles + 3 > OUTSTANDING * shortest:
        round_trip = (dma.l2_latency_cycles + 2 + beats / bursts) / OUTSTANDING
        slack = xp.maximum(bursts - OUTSTANDING, 0.0) * xp.maximum(round_trip - burst, 0.0)
        cycles = cycles + slack
    if write:
        return Flow(1.0, 0.0, cycles, 0.0, slack, 0.0, beats)
    return Flow(1.0, cycles, 0.0, slack, 0.0, beats, 0.0)


def _setup(dma: Dma) -> int:
    """Set-up that a queue pays once; what a kind of transfer differs from it lies in its flow."""
    return dma.setup_1d_cycles - dma.read_gap_cycles


def queue_cycles(flow: Flow, dma: Dma, xp: Any, met: Numbers = 0.0) -> Numbers:
    """Cycles of transfers queued together, from the first register write to the last event.

    Args:
        flow: What they ask for.
        dma: The engine.
        xp: Array module.
        met: Cycles by which other masters of the banks delay the beats. Round trips that the
            transfers wait for anyway take them in.
    """
    read = flow.read_cycles + xp.maximum(met - flow.read_slack, 0.0)
    write = flow.write_cycles + xp.maximum(met - flow.write_slack, 0.0)
    longer, shorter = xp.maximum(read, write), xp.minimum(flow.read_cycles, flow.write_cycles)
    flowing = longer + OVERLAP * shorter
    if dma.l2_duplex == "half":
        turning = TURNING_CYCLES * xp.minimum(shorter, 1.0)
        flowing = xp.maximum(longer, flow.beats) + turning
    further = dma.queued_cycles * (flow.commands - 1)
    fixed = dma.program_cycles + _setup(dma) + dma.l2_latency_cycles
    return xp.minimum(flow.commands, 1.0) * (fixed + xp.maximum(flowing, further))
