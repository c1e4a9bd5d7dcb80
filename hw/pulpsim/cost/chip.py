"""The parts of a chip: cluster, DMA, memories, power, battery, Cortex-M timing; units in the names.

`pulpsim.cost.platform` reads and checks them from a platform file.
"""

import dataclasses
from typing import Literal

FpuMap = Literal["static", "dynamic", "private"]
Duplex = Literal["full", "half"]
CortexProgram = Literal["same loops", "competent"]


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
    tile_cycles: int
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
    l2_duplex: Duplex
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
    """Off-chip RAM that holds the replays and what does not fit into L2; `pulpsim.cost.ram`."""

    kind: str
    external_bytes: int
    bytes_per_s: float
    transaction_s: float
    page_bytes: int
    joules_per_byte: float


@dataclasses.dataclass(frozen=True)
class Power:
    """Power of the chip while it computes and while it sleeps."""

    active_watts: float
    sleep_watts: float


@dataclasses.dataclass(frozen=True)
class Efficiency:
    """What a chip's makers publish of its cores' efficiency, and the work at which they reach it.

    One operation is half a multiply-accumulate.
    """

    fp32_ops_per_joule: float
    int8_ops_per_joule: float
    fp32_mac_per_cycle: float
    int8_mac_per_cycle: float


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
    """Instruction timing of a Cortex-M4F, for chips whose core it is, and who wrote its program."""

    program: CortexProgram
    load_cycles: float
    pipelined_load_cycles: float
    store_cycles: float
    alu_cycles: float
    fma_cycles: float
    fp_cycles: float
    branch_cycles: float
    flash_factor: float
