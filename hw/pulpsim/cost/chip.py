"""The parts of a chip: cores, DMA, caches, memories, power, battery; units in the names.

`pulpsim.cost.platform` reads and checks them from a platform file.
"""

import dataclasses
from typing import Literal

FpuMap = Literal["static", "dynamic", "private"]
Duplex = Literal["full", "half"]
CortexProgram = Literal["same loops", "competent"]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Cores that compute, their floating-point units and the memory next to them.

    The file of a Cortex-M has no FPUs and no banks to say: it is one core, alone at both.
    """

    cores: int
    clock_hz: float
    l1_bytes: int
    l1_reserved_bytes: int
    barrier_cycles: int
    tile_cycles: int
    offload_cycles: int
    fpus: int = 1
    fpu_map: FpuMap = "private"
    fpu_latency_cycles: int = 0
    tcdm_banks: int = 1


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
    """Off-chip RAM that holds the replays and what does not fit into L2; `pulpsim.cost.ram`.

    A file without a time per transaction has no pages.
    """

    kind: str
    external_bytes: int
    bytes_per_s: float
    transaction_s: float
    joules_per_byte: float
    page_bytes: int = 1024


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


@dataclasses.dataclass(frozen=True)
class CortexM7:
    """Issue of a Cortex-M7, for chips whose core it is, and who wrote its program.

    Attributes:
        program: As of a Cortex-M4F.
        issue_width: Instructions that start in a cycle at most.
        load_words_per_cycle: Of a load of several words, which nothing is paired with.
        store_words_per_cycle: Likewise.
        fma_cycles: From one multiply-add to the next.
        fp_cycles: From one other floating-point instruction to the next.
        turn_cycles: Behind the last multiply-add, until loads and stores of several words start.
        around_cycles: Of an instruction around the innermost loops, wrongly predicted loop ends
            shared out over them.
    """

    program: CortexProgram
    issue_width: float
    load_words_per_cycle: float
    store_words_per_cycle: float
    fma_cycles: float
    fp_cycles: float
    turn_cycles: float
    around_cycles: float


@dataclasses.dataclass(frozen=True)
class Caches:
    """Caches of a core, instead of a DMA: `Cluster.l1_bytes` is the data cache, L2 what it caches.

    Attributes:
        line_bytes: Of either cache.
        fill_cycles: The core waits for a line of data.
        evict_cycles: It waits for a line to be written back.
        code_bytes: Of the instruction cache.
        flash_factor: Slowdown of kernels whose program is longer than that.
    """

    line_bytes: int
    fill_cycles: float
    evict_cycles: float
    code_bytes: int
    flash_factor: float
