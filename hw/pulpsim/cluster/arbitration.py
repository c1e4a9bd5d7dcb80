"""Cores against each other: banks and floating-point units, arbitrated cycle by cycle.

Every bank and every shared FPU grants one request per cycle through a binary tree with one
round-robin counter p, which steps at each grant. In a node at height h with both sides asking, the
upper side wins iff bit h of p is set; so the winner is the asking leaf with the smallest
`leaf XOR p`. A core that is not granted asks again in the next cycle: one stall. Source: RTL.

The unit of three cores has a tree of four leaves and a counter that wraps at four.

The counters are never reset on the chip, so a run starts from whatever phase history left them in;
`Phase` carries it.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from pulpsim.kernels.shape import CORES

BANKS = 16
FPU = BANKS  # kind of a floating-point operation
IDLE = BANKS + 1  # kind behind a core's last operation
_GAP_UNIT = 32  # kinds fit below; an operation is packed as kind + 32 * gap
UNITS = 4
# Unit of each core in the static map, and the core's leaf in that unit's tree.
_STATIC_UNIT = np.array([0, 1, 2, 3, 0, 1, 2, 3, 3], np.int32)
_STATIC_LEAF = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2], np.int32)
_STATIC_LEAVES = np.array([2, 2, 2, 4], np.int32)  # three cores, padded to a full tree
_UNROLL = 4  # cycles per turn of the loop


@flax.struct.dataclass
class Phase:
    """Round-robin counters at the start of a run.

    Attributes:
        banks: One per bank, 0 to 8.
        units: One per FPU; modulo the tree's leaves.
    """

    banks: Int[Array, "*sims 16"]
    units: Int[Array, "*sims 4"]


@flax.struct.dataclass
class ClusterState:
    """State between two cycles.

    Attributes:
        phase: Round-robin counters.
        place: Index of each core's next operation.
        wait: Cycles until it is requested.
        bank_stalls: Lost requests at banks so far, per core.
        unit_stalls: Lost requests at FPUs so far, per core.
        finished: Cycle in which each core ended, 0 while it runs.
        cycle: Cycles so far.
    """

    phase: Phase
    place: Int[Array, "*sims 9"]
    wait: Int[Array, "*sims 9"]
    bank_stalls: Int[Array, "*sims 9"]
    unit_stalls: Int[Array, "*sims 9"]
    finished: Int[Array, "*sims 9"]
    cycle: Int[Array, "*sims"]


def phase(seed: int) -> Phase:
    """Counters of one start: all zero for seed 0, else drawn with that seed."""
    if seed == 0:
        banks, units = np.zeros(BANKS, np.int32), np.zeros(UNITS, np.int32)
    else:
        generator = np.random.default_rng(seed)
        banks = generator.integers(0, CORES, BANKS, dtype=np.int32)
        units = generator.integers(0, CORES, UNITS, dtype=np.int32)
    return Phase(jnp.asarray(banks), jnp.asarray(units))


def pack(kinds: Int[np.ndarray, " n"], gaps: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Operations as one integer each, for `simulate`."""
    return (kinds + _GAP_UNIT * gaps).astype(np.int32)


@functools.partial(jax.jit, static_argnames="fpu")
def simulate(
    operations: Int[Array, "lists n"],
    rows: Int[Array, "sims 9"],
    leads: Int[Array, "sims 9"],
    start: Phase,
    fpu: str,
) -> ClusterState:
    """Simulates several clusters side by side until every core is through.

    Args:
        operations: Packed, one core's per row, padded with `IDLE`; row 0 may be an empty one.
        rows: Row of each core of each simulation.
        leads: Cycles before each core's first request.
        start: Round-robin counters, one set per run.
        fpu: How FPUs are shared.

    Returns:
        The final state; `finished` is when the last operation's gap is over.
    """
    length = operations.shape[1]
    flat = operations.reshape(-1)
    base = rows * length
    zero = jnp.zeros_like(rows)
    leaves = jnp.asarray(_STATIC_LEAVES if fpu == "static" else np.full(UNITS, CORES, np.int32))
    counters = Phase(start.banks, start.units % leaves[None])
    state = ClusterState(counters, zero, leads, zero, zero, zero, zero[:, 0])
    cycle = jax.vmap(functools.partial(_cycle, _FPUS[fpu], flat))

    def turn(state: ClusterState) -> ClusterState:
        for _ in range(_UNROLL):
            state = cycle(base, state)
        return state

    return jax.lax.while_loop(lambda state: jnp.any(state.finished == 0), turn, state)


def _cycle(
    grant: Callable[..., Any], flat: Int[Array, " all"], base: Int[Array, " 9"], state: ClusterState
) -> ClusterState:
    """One cycle of one cluster."""
    packed = flat[base + state.place]
    kind = packed % _GAP_UNIT
    asks = state.wait == 0
    at_bank = asks & (kind < BANKS)
    at_unit = asks & (kind == FPU)
    bank_wins, banks = _banks(state.phase.banks, kind, at_bank)
    unit_wins, units = grant(state.phase.units, at_unit)
    granted = bank_wins | unit_wins
    ended = asks & (kind == IDLE) & (state.finished == 0)
    return ClusterState(
        Phase(banks, units),
        state.place + granted.astype(jnp.int32),
        jnp.where(granted, packed // _GAP_UNIT - 1, jnp.maximum(state.wait - 1, 0)),
        state.bank_stalls + (at_bank & ~bank_wins).astype(jnp.int32),
        state.unit_stalls + (at_unit & ~unit_wins).astype(jnp.int32),
        jnp.where(ended, state.cycle, state.finished),
        state.cycle + 1,
    )


def _decide(
    counters: Int[Array, " n"],
    wants: Bool[Array, "n 9"],
    leaves: Int[np.ndarray, " 9"],
    wrap: Int[np.ndarray, " n"],
) -> tuple[Bool[Array, " 9"], Int[Array, " n"]]:
    """Winners of n trees that share 9 leaves, and the stepped counters."""
    rank = jnp.asarray(leaves)[None] ^ counters[:, None]
    best = jnp.min(jnp.where(wants, rank, 16), axis=1)
    wins = jnp.any(wants & (rank == best[:, None]), axis=0)
    following = counters + (best < 16).astype(jnp.int32)
    return wins, jnp.where(following >= jnp.asarray(wrap), 0, following)


_ALL = np.arange(CORES, dtype=np.int32)


def _banks(
    counters: Int[Array, " 16"], kind: Int[Array, " 9"], asks: Bool[Array, " 9"]
) -> tuple[Bool[Array, " 9"], Int[Array, " 16"]]:
    """All cores may ask at every bank."""
    numbers = jnp.arange(BANKS, dtype=jnp.int32)
    wants = asks[None] & (kind[None] == numbers[:, None])
    return _decide(counters, wants, _ALL, np.full(BANKS, CORES, np.int32))


def _static(
    counters: Int[Array, " 4"], asks: Bool[Array, " 9"]
) -> tuple[Bool[Array, " 9"], Int[Array, " 4"]]:
    """Two or three cores own a unit together."""
    wants = asks[None] & jnp.asarray(np.arange(UNITS)[:, None] == _STATIC_UNIT)
    return _decide(counters, wants, _STATIC_LEAF, _STATIC_LEAVES)


def _dynamic(
    counters: Int[Array, " 4"], asks: Bool[Array, " 9"]
) -> tuple[Bool[Array, " 9"], Int[Array, " 4"]]:
    """The n-th asking core goes to unit n mod 4."""
    order = jnp.cumsum(asks.astype(jnp.int32), dtype=jnp.int32) - 1
    wants = asks[None] & (order[None] % UNITS == jnp.arange(UNITS, dtype=jnp.int32)[:, None])
    return _decide(counters, wants, _ALL, np.full(UNITS, CORES, np.int32))


def _private(
    counters: Int[Array, " 4"], asks: Bool[Array, " 9"]
) -> tuple[Bool[Array, " 9"], Int[Array, " 4"]]:
    """One FPU per core: nobody waits."""
    return asks, counters


_FPUS = {"static": _static, "dynamic": _dynamic, "private": _private}
