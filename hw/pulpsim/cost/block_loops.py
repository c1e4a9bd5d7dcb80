"""The loops over blocks: what the cluster and the off-chip RAM do, step by step, and how long."""

import dataclasses

from pulpsim.cost.machine import Machine
from pulpsim.cost.tiling import ZERO, Cost


@dataclasses.dataclass(frozen=True)
class Moved:
    """Rows that a block brings or takes: how many, and bytes of each, side by side in RAM."""

    rows: int | float
    row_bytes: int | float


@dataclasses.dataclass
class Sum:
    """What adds up over blocks: the cluster's costs, the RAM's cycles and bytes, the time."""

    cluster: Cost = ZERO
    outside: int | float = 0.0
    moved_bytes: int | float = 0.0
    cycles: int | float = 0.0

    def work(self, count: int, costs: list[Cost]) -> int | float:
        """Adds the cluster's work on `count` blocks; returns the cycles of one."""
        each = sum(costs, ZERO)
        self.cluster = self.cluster + each.times(count)
        return each.cycles

    def move(self, count: int, machine: Machine, moves: list[Moved]) -> int | float:
        """Adds `count` transfers; returns the cycles of one."""
        each = outside_cycles(machine, moves)
        self.outside += count * each
        self.moved_bytes += count * sum(one.rows * one.row_bytes for one in moves)
        return each

    def cost(self) -> Cost:
        """The whole."""
        return dataclasses.replace(
            self.cluster,
            cycles=max(self.cycles, self.cluster.cycles, self.outside),
            outside_cycles=self.outside,
            external_bytes=self.moved_bytes,
        )


def outside_cycles(machine: Machine, moves: list[Moved]) -> int | float:
    """Cycles that the off-chip RAM takes for these rows."""
    return sum(machine.external_cycles(move.rows, move.row_bytes) for move in moves)
