"""The parts of a chip: cluster, DMA, memories, power, battery, Cortex-M timing; units in the names.

`pulpsim.cost.platform` reads and checks them from a platform file.
"""

import dataclasses
from typing import Literal

FpuMap = Literal["static", "dynamic", "private"]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Cores that compute, their floating-point units and the memory next to them."""

    cores: int
    clock_hz: float
    fpus: int
    fpu_map: FpuMap
    fpu_latency_cycles: int
    tcdm_banks: int
    l1_bytes: int
    l1_reserved_bytes: int
    barrier_cycles: int
    offload_cycles: int


@dataclasses.dataclass(frozen=True)
class Dma:
    """The cluster DMA between L2 and L1; `pulpsim.cost.dma` has the law."""

    bus_bytes: int
    burst_bytes: int
    read_gap_cycles: int
    write_gap_cycles: int
    setup_1d_cycles: int
    setup_2d_cycles: int
    l2_latency_cycles: int
    program_cycles: int
    queued_cycles: int


@dataclasses.dataclass(frozen=True)
class L2:
    """On-chip memory behind the DMA.

    Attributes:
        l2_bytes: All of it that tensors may take.
        reserved_bytes: Of these, for code and tables.
        staging_bytes: Of these, two buffers through which tensors outside pass, where a schedule
            does not place its own blocks (layer-by-sample).
        joules_per_byte: Of a transfer between L2 and L1.
    """

    l2_bytes: int
    reserved_bytes: int
    staging_bytes: int
    joules_per_byte: float


@dataclasses.dataclass(frozen=True)
class Storage:
    """Non-volatile memory that holds the frozen weights."""

    kind: str
    storage_bytes: int
    read_bytes_per_s: float
    joules_per_byte: float


@dataclasses.dataclass(frozen=True)
class External:
    """Off-chip RAM that holds the replays and what does not fit into L2."""

    kind: str
    external_bytes: int
    bytes_per_s: float
    joules_per_byte: float


@dataclasses.dataclass(frozen=True)
class Power:
    """Power of the chip while it computes and while it sleeps."""

    active_watts: float
    sleep_watts: float


@dataclasses.dataclass(frozen=True)
class Battery:
    """What lifetimes are counted on."""

    charge_mah: float
    volts: float

    @property
    def joules(self) -> float:
        """Energy of a full charge."""
        return self.charge_mah * 3.6 * self.volts


@dataclasses.dataclass(frozen=True)
class CortexM4F:
    """Instruction timing of a Cortex-M4F, for chips whose core it is."""

    load_cycles: int
    pipelined_load_cycles: int
    store_cycles: int
    alu_cycles: int
    fma_cycles: int
    fp_cycles: int
    branch_cycles: int
    flash_factor: float
