"""The requests of a core: what it asks of banks and FPUs, and how long it waits between.

Of the instructions that a program issues, only memory accesses and floating-point operations meet
other cores. Those are kept, each with the cycles until the next one if nobody interferes;
load-use, branch, jump, misalignment and FPU-latency stalls are part of those gaps.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int

from pulpsim.cluster import l1
from pulpsim.cluster.assembler import BRANCHES, FLOATING, LOADS, NUMBER, Program, program
from pulpsim.cluster.interpreter import Issued, interpret
from pulpsim.kernels import Kernel, find
from pulpsim.kernels.shape import PERIPHERALS

BANKS = 16
FPU = BANKS  # the kind of a floating-point operation; smaller kinds are banks
_CALL_INSTRUCTIONS = 2  # the jump into the kernel and the end of the counting window
_RETURN_AFTER_RELOAD = 2  # cycles of `ret` behind a reload of ra that no counter shows
_MULH = 4  # cycles of a `mulh` beyond its first (read, not measured)


@dataclasses.dataclass(frozen=True)
class Alone:
    """What a core spends without any other core; columns of the RTL table.

    Attributes:
        instr: Instructions.
        ld_stall: Stalls of a use right behind its load.
        fpu_stall: Stalls of a use behind a floating-point operation (latency only).
        taken_branches: Each costs 2 cycles.
        jumps: Each costs 1 cycle.
        misaligned: Word accesses that take two cycles.
        other: Cycles that no counter shows: of the return, and of `mulh`.
    """

    instr: int
    ld_stall: int
    fpu_stall: int
    taken_branches: int
    jumps: int
    misaligned: int
    other: int

    @property
    def cycles(self) -> int:
        """Cycles without contention."""
        stalls = self.ld_stall + self.fpu_stall + self.misaligned + self.other
        return self.instr + stalls + 2 * self.taken_branches + self.jumps


@dataclasses.dataclass(frozen=True)
class Requests:
    """What one core asks for, in order.

    Attributes:
        kinds: Bank of an access, or `FPU`.
        addresses: Byte address of an access, -1 for a floating-point operation.
        gaps: Cycles from the grant of an operation to the request of the next, at least 1; the last
            one runs to the end of the program.
        lead: Cycles before the first request.
        alone: Cycles by cause without contention.
    """

    kinds: Int[np.ndarray, " n"]
    addresses: Int[np.ndarray, " n"]
    gaps: Int[np.ndarray, " n"]
    lead: int
    alone: Alone


@functools.lru_cache(maxsize=512)
def requests(
    kernel: str | Kernel,
    shape: str,
    core: int,
    cores: int,
    fpu_latency: int = 0,
    bank_shift: bool = False,
    old: bool = False,
) -> Requests:
    """Requests of one core's share of a tile.

    Args:
        kernel: Its name or record.
        shape: Of the tile, as in the RTL table.
        core: Number of the core.
        cores: Cores that take part.
        fpu_latency: Extra stages of the FPU, cycles.
        bank_shift: Whether buffer j starts in bank j.
        old: Whether buffers lie as in the earlier series of runs.

    Raises:
        ValueError: The kernel is unknown, cannot run this shape, or does not fit.
    """
    record = find(kernel)
    tile = record.tile(shape)
    placement = l1.place(tile, cores, bank_shift=bank_shift, old=old)
    memory = l1.memory(tile, placement, cores)
    instructions = program(record)
    issued = interpret(instructions, memory, placement.arguments[core], placement.stacks[core])
    return _requests(instructions, issued, fpu_latency)


def _requests(program: Program, issued: Issued, fpu_latency: int) -> Requests:
    """Adds up what every instruction costs alone, then keeps the shared operations."""
    table = _table(program)
    places, addresses = issued.places, issued.addresses
    follower = np.append(places[1:], places[-1])
    touches = (addresses >= 0) & (addresses < PERIPHERALS)
    floating = table.floating[places]

    load_use = table.loads[places] & table.reads[follower, table.rd[places]]
    load_use[-1] = False
    taken = table.branches[places] & (follower != places + 1)
    jumps = table.jumps[places]
    misaligned = touches & table.words[places] & (addresses % 4 != 0)
    returns = table.returns[places]
    reloaded = _restores_ra(program)
    late = _dependence_stalls(program, places, fpu_latency)
    multiplying = _MULH * table.mulh[places]

    cost = 1 + load_use + 2 * taken + jumps + misaligned + late + multiplying
    cost = cost + returns * (_RETURN_AFTER_RELOAD if reloaded else 1)
    starts = np.concatenate([[0], np.cumsum(cost)])
    alone = Alone(
        len(places) + _CALL_INSTRUCTIONS,
        int(load_use.sum()),
        int(late.sum()),
        int(taken.sum()),
        int(jumps.sum()) + (0 if reloaded else 1),
        int(misaligned.sum()),
        (_RETURN_AFTER_RELOAD if reloaded else 0) + int(multiplying.sum()),
    )
    # The second half of a misaligned access is a request of its own in the next cycle.
    shared = np.flatnonzero(touches | floating)
    twice = misaligned[shared].astype(np.int64)
    owner = np.repeat(shared, 1 + twice)
    second = np.zeros(len(owner), bool)
    second[np.cumsum(1 + twice)[twice > 0] - 1] = True
    bytes_ = np.where(touches[owner], addresses[owner] + 4 * second, -1)
    kinds = np.where(bytes_ >= 0, (bytes_ >> 2) % BANKS, FPU).astype(np.int32)
    times = starts[owner] + second
    end = int(starts[-1]) + _CALL_INSTRUCTIONS
    gaps = np.diff(np.append(times, end)).astype(np.int32)
    lead = int(times[0]) if len(times) else end
    return Requests(kinds, bytes_, gaps, lead, alone)


@dataclasses.dataclass(frozen=True)
class _Table:
    """Properties of a program's instructions, one entry per place."""

    rd: np.ndarray
    reads: np.ndarray
    loads: np.ndarray
    words: np.ndarray
    floating: np.ndarray
    branches: np.ndarray
    jumps: np.ndarray
    returns: np.ndarray
    mulh: np.ndarray


def _table(program: Program) -> _Table:
    reads = np.zeros((len(program), 33), bool)  # the last column is never read
    for place, instruction in enumerate(program):
        reads[place, list(instruction.sources)] = True
    reads[:, 0] = False  # zero is never waited for

    def where(test: list[bool]) -> np.ndarray:
        return np.array(test)

    return _Table(
        np.array([one.rd if one.rd >= 0 else 32 for one in program]),
        reads,
        where([one.op in LOADS for one in program]),
        where([one.op in ("lw", "sw") for one in program]),
        where([one.op in FLOATING for one in program]),
        where([one.op in BRANCHES for one in program]),
        where([one.op == "j" for one in program]),
        where([one.op == "ret" for one in program]),
        where([one.op == "mulh" for one in program]),
    )


def _restores_ra(program: Program) -> bool:
    """Whether the return waits for a reload of ra close before it."""
    end = next(place for place, one in enumerate(program) if one.op == "ret")
    near = program[max(0, end - 2) : end]
    return any(one.op in LOADS and one.rd == NUMBER["ra"] for one in near)


def _dependence_stalls(program: Program, places: np.ndarray, latency: int) -> np.ndarray:
    """Stalls before the next instruction when it needs a floating-point result too early.

    Distances are counted in instructions, as if nothing else stalled in between: exact for one
    extra stage, an upper bound for more.
    """
    late = np.zeros(len(places), np.int64)
    if latency == 0:
        return late
    table = _table(program)
    wait = np.zeros(len(places) + 1, np.int64)
    for distance in range(1, latency + 1):
        user = places[distance:]
        producer = places[: len(places) - distance]
        hit = table.floating[producer] & table.reads[user, table.rd[producer]]
        # The user waits; what was already waited for by instructions between them counts.
        for index in np.flatnonzero(hit):
            between = int(wait[index + 1 : index + distance + 1].sum())
            need = latency + 1 - distance
            wait[index + distance] += max(0, need - between)
    late[:] = wait[1:]
    return late
