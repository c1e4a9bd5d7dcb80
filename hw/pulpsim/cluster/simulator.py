"""Cycles of a kernel on a cluster, with the columns of the RTL table.

The shares of all cores are issued (`stream`), then arbitrated cycle by cycle (`arbitration`). The
row of the slowest core is returned, as the RTL table has it. The round-robin counters have an
unknown phase at the start of a kernel; unless one is given, several are simulated and the run with
the median time is taken.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pulpsim.cluster import arbitration, l1
from pulpsim.cluster.requests import Stream, stream
from pulpsim.kernels import shape

FPU_MAPS = ("static", "dynamic", "private")
PHASES = 9
_OLD = "@old"
# Runs of the earlier series entered through a C function: 11 instructions and a jump more.
_WRAPPER_INSTRUCTIONS, _WRAPPER_JUMPS = 11, 1
# Few sizes of arrays compile: streams are padded to this times a power of four, batches to 1 or 16.
_SMALLEST, _GROWTH = 1024, 4
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class KernelCounts:
    """One run; names and meaning as the columns of the RTL table, all of the slowest core.

    Attributes:
        kernel: Name.
        shape: Of the tile.
        cores: Cores that took part.
        fpu: How FPUs are shared.
        cycles: From the common start to the end of the slowest core.
        instr: Instructions.
        ld_stall: Stalls of a use right behind its load.
        fpu_stall: Lost requests at FPUs and waits for their results.
        taken_branches: Each costs 2 cycles.
        jumps: Each costs 1 cycle.
        tcdm_conflicts: Lost requests at banks.
        macs: Multiply-accumulates, or elements, of the whole tile.
        residual: Cycles that no counter shows: 2 for the return of kernels that restore `ra`, 1
            per misaligned word access.
    """

    kernel: str
    shape: str
    cores: int
    fpu: str
    cycles: int
    instr: int
    ld_stall: int
    fpu_stall: int
    taken_branches: int
    jumps: int
    tcdm_conflicts: int
    macs: int
    residual: int


@dataclasses.dataclass(frozen=True)
class Job:
    """One kernel call to simulate; arguments as `run_kernel`."""

    kernel: str
    shape: str
    cores: int = 8
    fpu: str = "static"
    fpu_latency: int = 0
    bank_shift: bool = False


def run_kernel(
    name: str,
    shape: str,
    cores: int,
    fpu: str = "static",
    fpu_latency: int = 0,
    phase: int | None = None,
) -> KernelCounts:
    """Simulates one kernel on one tile.

    Args:
        name: Kernel, as in the RTL table.
        shape: Of the tile, as in the RTL table; `@old` behind it takes the addresses of the
            earlier series.
        cores: 1 to 9.
        fpu: `static` (cores i and i + 4 share a unit), `dynamic` or `private`.
        fpu_latency: Extra pipeline stages of the FPU, cycles.
        phase: Seed of the round-robin counters at the start; None takes the run with the median
            time of `PHASES`.

    Returns:
        Counts of the slowest core.

    Raises:
        ValueError: The kernel, shape, number of cores or FPU map cannot be simulated.
    """
    return run_kernels([Job(name, shape, cores, fpu, fpu_latency)], phase)[0]


def run_kernels(jobs: Sequence[Job], phase: int | None = None) -> list[KernelCounts]:
    """Simulates several kernel calls, side by side where they are about equally long.

    Args:
        jobs: What to simulate.
        phase: As in `run_kernel`.

    Raises:
        ValueError: A job cannot be simulated.
    """
    for job in jobs:
        _check(job)
    phases = tuple(range(PHASES)) if phase is None else (phase,)
    results: dict[Job, list[KernelCounts]] = {}
    groups: dict[tuple[str, int], list[Job]] = {}
    for job in dict.fromkeys(jobs):
        streams = _streams(job)
        if len(streams) == 1:
            results[job] = [_counts(job, streams, 0, streams[0].alone.cycles, 0, 0)]
        else:
            length = max(len(one.kinds) for one in streams) + 1
            padded = _SMALLEST
            while padded < length:
                padded *= _GROWTH
            groups.setdefault((job.fpu, padded), []).append(job)
    for (_, length), members in groups.items():
        for first in range(0, len(members), _BATCH):
            some = members[first : first + _BATCH]
            results.update(zip(some, _together(some, length, phases), strict=True))
    return [_median(results[job]) for job in jobs]


def _median(runs: list[KernelCounts]) -> KernelCounts:
    return sorted(runs, key=lambda one: one.cycles)[len(runs) // 2]


def _check(job: Job) -> None:
    if not 1 <= job.cores <= l1.CORES:
        raise ValueError(f"cores must be 1 to {l1.CORES}, not {job.cores}")
    if job.fpu not in FPU_MAPS:
        raise ValueError(f"fpu must be static, dynamic or private, not {job.fpu!r}")
    if job.fpu_latency < 0:
        raise ValueError(f"fpu_latency must be 0 or more, not {job.fpu_latency}")
    tile = shape.tile(job.kernel, job.shape.removesuffix(_OLD))
    if job.cores > tile.cores:
        raise ValueError(f"{job.kernel} runs on {tile.cores} core, not {job.cores}")


def _streams(job: Job) -> list[Stream]:
    shape = job.shape.removesuffix(_OLD)
    old = shape != job.shape
    return [
        stream(job.kernel, shape, core, job.cores, job.fpu_latency, job.bank_shift, old)
        for core in range(job.cores)
    ]


def _together(jobs: list[Job], length: int, phases: tuple[int, ...]) -> list[list[KernelCounts]]:
    """One list of counts per job, one per phase."""
    streams = [_streams(job) for job in jobs]
    places = 1 if len(jobs) == 1 else _BATCH
    rows = np.zeros((len(jobs), arbitration.CORES), np.int32)
    leads = np.ones((len(jobs), arbitration.CORES), np.int32)
    operations = np.full((places * arbitration.CORES + 1, length), arbitration.IDLE, np.int32)
    row = 1
    for index, each in enumerate(streams):
        for core, one in enumerate(each):
            operations[row, : len(one.kinds)] = arbitration.pack(one.kinds, one.gaps)
            rows[index, core] = row
            leads[index, core] = one.lead
            row += 1
    runs = places * len(phases)
    start = jax.tree.map(
        lambda *one: jnp.stack(one),
        *[arbitration.phase(phases[run % len(phases)]) for run in range(runs)],
    )
    order = np.minimum(np.arange(runs) // len(phases), len(jobs) - 1)  # the last one fills up
    end = arbitration.simulate(
        jnp.asarray(operations),
        jnp.asarray(rows[order]),
        jnp.asarray(leads[order]),
        start,
        jobs[0].fpu,
    )
    finished, at_banks, at_units = jax.device_get((end.finished, end.bank_stalls, end.unit_stalls))
    results = []
    for index, (job, each) in enumerate(zip(jobs, streams, strict=True)):
        found = []
        for run in range(index * len(phases), (index + 1) * len(phases)):
            cycles = finished[run, : job.cores]
            core = int(np.argmax(cycles))
            banks, units = int(at_banks[run, core]), int(at_units[run, core])
            found.append(_counts(job, each, core, int(cycles[core]), units, banks))
        results.append(found)
    return results


def _counts(
    job: Job, streams: list[Stream], core: int, cycles: int, units: int, banks: int
) -> KernelCounts:
    alone = streams[core].alone
    old = job.shape.endswith(_OLD)
    more, jumps = (_WRAPPER_INSTRUCTIONS, _WRAPPER_JUMPS) if old else (0, 0)
    return KernelCounts(
        job.kernel,
        job.shape,
        job.cores,
        job.fpu,
        cycles + more + jumps,
        alone.instr + more,
        alone.ld_stall,
        alone.fpu_stall + units,
        alone.taken_branches,
        alone.jumps + jumps,
        banks,
        shape.tile(job.kernel, job.shape.removesuffix(_OLD)).macs,
        alone.other + alone.misaligned,
    )


# Tiles about as large as those that a tiler picks, one per kernel.
REFERENCE_TILES: dict[str, str] = {
    "p1_2x4": "32x64x32",
    "p2_2x4": "32x64x32",
    "p2a_2x4": "32x64x32",
    "p3_2x4": "32x64x32",
    "p4_4x4": "32x64x32",
    "d1_col": "C16_10x10",
    "d3_col": "C16_10x10",
    "d2_wgrad": "C16_10x10",
    "d2a_wgrad": "C16_10x10",
    "d1s_col": "C16_9x9",
    "d1s_s2": "C16_9x9",
    "d2s_wgrad": "C16_9x9",
    "d2sa_wgrad": "C16_9x9",
    "d3s_igrad": "C16_4x4to8x8",
    "l1_fwd": "32x256",
    "l2_igrad": "32x256",
    "l3_wgrad": "32x128",
    "l3a_wgrad": "32x128",
    "i1_4x2": "32x64x32",
    "i2_dw": "C16_10x10",
    "i2s_dw": "C16_9x9",
    "i3_conv": "N32_17x17",
    "i4_pool": "C64_HW16",
    "c0_im2col": "M32",
    "e1_sgd": "n1024",
    "e2_cvt": "n1024",
    "e2_trick": "n1024",
    "e3_fwd": "n1024",
    "e3_bwd": "n1024",
    "e10_relu6": "n1024",
    "e9_unp7": "n1024",
    "e9_unp6": "n1024",
    "e9_pck7": "n1024",
    "e9_pck6": "n1024",
    "e4_bn": "C32_HW64",
    "e5_stat": "C32_HW64",
    "e6a_bnsum": "C32_HW64",
    "e6b_bnbwd": "C32_HW64",
    "e7_gapf": "C64_HW16",
    "e7_gapb": "C64_HW16",
}


@functools.cache
def stalls_per_instruction(cores: int, fpu: str, fpu_latency: int = 0) -> dict[str, float]:
    """Stall cycles that cores cost each other per instruction, simulated on `REFERENCE_TILES`.

    Args:
        cores: 1 to 9.
        fpu: How FPUs are shared.
        fpu_latency: Extra pipeline stages of the FPU, cycles.

    Returns:
        Kernel -> cycles lost at banks and FPUs per instruction of the slowest core.
    """
    jobs = [Job(name, shape, cores, fpu, fpu_latency) for name, shape in REFERENCE_TILES.items()]
    counts = run_kernels(jobs)
    return {one.kernel: (one.fpu_stall + one.tcdm_conflicts) / one.instr for one in counts}
