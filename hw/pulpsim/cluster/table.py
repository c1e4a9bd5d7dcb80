"""Rows in the columns of the RTL table `cycles.csv`: read into jobs, and answered by simulation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pulpsim.cluster.simulator import FPU_MAPS, Job, check, run_kernels

NEEDED = ("kernel", "shape", "cores", "fpu")
COUNTED = (
    "cycles",
    "instr",
    "ld_stall",
    "fpu_stall",
    "taken_branches",
    "jumps",
    "tcdm_conflicts",
    "macs",
)
COLUMNS = (*NEEDED, *COUNTED)
# What may follow the FPU map: a longer pipeline, shifted buffers, repeats of the same run.
_HOW = ("", "lat1", "bankshift", "repeat")

Row = Mapping[str, str]
Found = TypeVar("Found")


def answers(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with simulated counts in place of the measured ones, and why some have none.

    Args:
        rows: By column; those of `NEEDED`, others are not read.
    """
    jobs, refused = read_each(rows, job)
    counts = iter(run_kernels([one for one in jobs if one is not None]))
    found = []
    for row, one in zip(rows, jobs, strict=True):
        given = {key: row.get(key) or "" for key in NEEDED}
        some = next(counts) if one is not None else None
        found.append(given | {key: "" if some is None else getattr(some, key) for key in COUNTED})
    return found, refused


def job(row: Row) -> Job:
    """The run of a row.

    Raises:
        ValueError: A column is missing, or what it says cannot be simulated.
    """
    for key in NEEDED:
        if not row.get(key):
            raise ValueError(f"column {key} is missing or empty")
    fpu, _, how = row["fpu"].partition("_" if "_" in row["fpu"] else "+")
    if fpu not in FPU_MAPS or how not in _HOW:
        raise ValueError(
            f"fpu {row['fpu']!r} is not static, dynamic or private, with _lat1, _repeat or "
            "+bankshift behind it"
        )
    if not row["cores"].strip().isdigit():
        raise ValueError(f"cores is a whole number, not {row['cores']!r}")
    one = Job(
        row["kernel"],
        row["shape"],
        int(row["cores"]),
        fpu,
        fpu_latency=int(how == "lat1"),
        bank_shift=how == "bankshift",
    )
    check(one)
    return one


def read_each(
    rows: Sequence[Row], read: Callable[[Row], Found]
) -> tuple[list[Found | None], list[str]]:
    """What `read` makes of every row, None where it refuses, and the refusals by number."""
    found: list[Found | None] = []
    refused = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(read(row))
        except ValueError as error:
            found.append(None)
            refused.append(f"row {number}: {error}")
    return found, refused
