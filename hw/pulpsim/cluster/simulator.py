"""Cycles of a kernel on a cluster, with the columns of the RTL table.

Every core's requests are listed (`requests`), then arbitrated cycle by cycle (`arbitration`). The
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

from pulpsim.cluster import arbitration
from pulpsim.cluster.requests import BANKS, Requests, requests
from pulpsim.kernels import Kernel, find
from pulpsim.kernels.shape import CORES

FPU_MAPS = ("static", "dynamic", "private")
PHASES = 9
_OLD = "@old"
# Runs of the earlier series entered through a C function: 11 instructions and a jump more.
_WRAPPER_INSTRUCTIONS, _WRAPPER_JUMPS = 11, 1
# Few sizes of arrays compile: lists are padded to this times a power of four, batches to 1 or 16.
_SMALLEST, _GROWTH = 1024, 4
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class KernelCounts:
    """One simulation; names and meaning as the columns of the RTL table, all of the slowest core.

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
    """One kernel call to simulate; arguments as `run_kernel`.

    Attributes:
        banks: Of L1, word by word in turn; a power of two, 16 at most.
    """

    kernel: str | Kernel
    shape: str
    cores: int = 8
    fpu: str = "static"
    fpu_latency: int = 0
    bank_shift: bool = False
    banks: int = BANKS


def run_kernel(
    kernel: str | Kernel,
    shape: str,
    cores: int,
    fpu: str = "static",
    fpu_latency: int = 0,
    phase: int | None = None,
) -> KernelCounts:
    """Simulates one kernel on one tile.

    Args:
        kernel: Its record, or its name as in the RTL table.
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
    return run_kernels([Job(kernel, shape, cores, fpu, fpu_latency)], phase)[0]


def run_kernels(jobs: Sequence[Job], phase: int | None = None) -> list[KernelCounts]:
    """Simulates several kernel calls, side by side where they are about equally long.

    Args:
        jobs: What to simulate.
        phase: As in `run_kernel`.

    Raises:
        ValueError: A job cannot be simulated.
    """
    for job in jobs:
        check(job)
    phases = tuple(range(PHASES)) if phase is None else (phase,)
    results: dict[Job, list[KernelCounts]] = {}
    groups: dict[tuple[str, int], list[Job]] = {}
    for job in dict.fromkeys(jobs):
        lists = _lists(job)
        if len(lists) == 1:
            results[job] = [_counts(job, lists, 0, lists[0].alone.cycles, 0, 0)]
        else:
            length = max(len(one.kinds) for one in lists) + 1
            padded = _SMALLEST
            while padded < length:
                padded *= _GROWTH
            groups.setdefault((job.fpu, padded), []).append(job)
    for (_, length), members in groups.items():
        for first in range(0, len(members), _BATCH):
            some = members[first : first + _BATCH]
            results.update(zip(some, _together(some, length, phases), strict=True))
    return [_median(results[job]) for job in jobs]


def _median(found: list[KernelCounts]) -> KernelCounts:
    return sorted(found, key=lambda one: one.cycles)[len(found) // 2]


def check(job: Job) -> None:
    """Refuses what cannot be simulated.

    Raises:
        ValueError: Unknown kernel or FPU map, impossible shape or number of cores.
    """
    if not 1 <= job.cores <= CORES:
        raise ValueError(f"cores must be 1 to {CORES}, not {job.cores}")
    if job.fpu not in FPU_MAPS:
        raise ValueError(f"fpu must be static, dynamic or private, not {job.fpu!r}")
    if job.fpu_latency < 0:
        raise ValueError(f"fpu_latency must be 0 or more, not {job.fpu_latency}")
    if job.banks not in (1, 2, 4, 8, BANKS):
        raise ValueError(f"banks must be a power of two of {BANKS} at most, not {job.banks}")
    kernel = find(job.kernel)
    kernel.tile(job.shape.removesuffix(_OLD))
    if job.cores > kernel.work.cores:
        raise ValueError(f"{kernel.name} runs on {kernel.work.cores} core, not {job.cores}")


def _lists(job: Job) -> list[Requests]:
    shape = job.shape.removesuffix(_OLD)
    old = shape != job.shape
    kernel = find(job.kernel)
    return [
        _on_banks(
            requests(kernel, shape, core, job.cores, job.fpu_latency, job.bank_shift, old),
            job.banks,
        )
        for core in range(job.cores)
    ]


def _on_banks(asked: Requests, banks: int) -> Requests:
    """The same requests where L1 has fewer banks."""
    if banks == BANKS:
        return asked
    kinds = np.where(asked.kinds < BANKS, asked.kinds % banks, asked.kinds)
    return dataclasses.replace(asked, kinds=kinds)


def _together(jobs: list[Job], length: int, phases: tuple[int, ...]) -> list[list[KernelCounts]]:
    """One list of counts per job, one per phase."""
    lists = [_lists(job) for job in jobs]
    places = 1 if len(jobs) == 1 else _BATCH
    rows = np.zeros((len(jobs), CORES), np.int32)
    leads = np.ones((len(jobs), CORES), np.int32)
    operations = np.full((places * CORES + 1, length), arbitration.IDLE, np.int32)
    row = 1
    for index, each in enumerate(lists):
        for core, one in enumerate(each):
            operations[row, : len(one.kinds)] = arbitration.pack(one.kinds, one.gaps)
            rows[index, core] = row
            leads[index, core] = one.lead
            row += 1
    count = places * len(phases)
    start = jax.tree.map(
        lambda *one: jnp.stack(one),
        *[arbitration.phase(phases[place % len(phases)]) for place in range(count)],
    )
    order = np.minimum(np.arange(count) // len(phases), len(jobs) - 1)  # the last one fills up
    end = arbitration.simulate(
        jnp.asarray(operations),
        jnp.asarray(rows[order]),
        jnp.asarray(leads[order]),
        start,
        jobs[0].fpu,
    )
    finished, at_banks, at_units = jax.device_get((end.finished, end.bank_stalls, end.unit_stalls))
    results = []
    for index, (job, each) in enumerate(zip(jobs, lists, strict=True)):
        found = []
        for place in range(index * len(phases), (index + 1) * len(phases)):
            cycles = finished[place, : job.cores]
            core = int(np.argmax(cycles))
            banks, units = int(at_banks[place, core]), int(at_units[place, core])
            found.append(_counts(job, each, core, int(cycles[core]), units, banks))
        results.append(found)
    return results


def _counts(
    job: Job, lists: list[Requests], core: int, cycles: int, units: int, banks: int
) -> KernelCounts:
    alone = lists[core].alone
    old = job.shape.endswith(_OLD)
    more, jumps = (_WRAPPER_INSTRUCTIONS, _WRAPPER_JUMPS) if old else (0, 0)
    return KernelCounts(
        find(job.kernel).name,
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
        find(job.kernel).tile(job.shape.removesuffix(_OLD)).macs,
        alone.other + alone.misaligned,
    )


@functools.cache
def stalls_per_instruction(
    kernel: Kernel, cores: int, fpu: str, fpu_latency: int = 0, banks: int = BANKS
) -> float:
    """Stall cycles that cores cost each other per instruction, on the kernel's reference tile.

    Args:
        kernel: Its record; 0 for one without a reference tile, which no second core runs.
        cores: 1 to 9.
        fpu: How FPUs are shared.
        fpu_latency: Extra pipeline stages of the FPU, cycles; their stalls count too.
        banks: Of L1.
    """
    if kernel.reference is None:
        return 0.0
    return rates([kernel], cores, fpu, fpu_latency, banks)[kernel.name]


def rates(
    kernels: Sequence[Kernel], cores: int, fpu: str, fpu_latency: int = 0, banks: int = BANKS
) -> dict[str, float]:
    """The same for several kernels with reference tiles, simulated side by side."""
    tiled = [kernel for kernel in kernels if kernel.reference is not None]
    jobs = [
        Job(kernel, kernel.reference or "", cores, fpu, fpu_latency, banks=banks)
        for kernel in tiled
    ]
    found = run_kernels(jobs)
    return {one.kernel: (one.fpu_stall + one.tcdm_conflicts) / one.instr for one in found}
