"""Compares the simulated cluster with every row of the RTL tables.

    PYTHONPATH=hw python experiments/rtl_validation.py [--out FOLDER] [--table CSV ...]

Writes `rows.csv` (one line a row), `summary.json` (largest and mean error per kernel) and
`errors.png`. Nothing is fitted to a row: all rows use one set of rules. The round-robin phase of
the arbiters, unknown in the measurement, is taken as the median of several simulated ones.
"""

import argparse
import csv
import io
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from pulpsim.cluster import simulator
from pulpsim.cluster.table import job

from qlrjax import cli
from qlrjax.files import write_atomic

DATA = Path(__file__).resolve().parents[1] / "tests" / "data" / "hw"
EXACT = ("instr", "ld_stall", "taken_branches", "jumps")
# Kernels of another library whose inner loop is one of ours.
SAME_LOOP = {"mm": ("xmm_naive", "xmm_naive_T"), "mm_unroll_2x4": ("xmm_2x4", None)}


def compare(row: dict[str, str], counts: simulator.KernelCounts) -> dict[str, Any]:
    """One line of the result."""
    measured = int(row["cycles"])
    terms = counts.instr + counts.ld_stall + counts.fpu_stall + counts.jumps
    terms += 2 * counts.taken_branches + counts.tcdm_conflicts + counts.residual
    return {
        **{key: row[key] for key in ("kernel", "shape", "cores", "fpu")},
        "rtl_cycles": measured,
        "sim_cycles": counts.cycles,
        "error_cycles": counts.cycles - measured,
        "error_percent": round(100 * (counts.cycles / measured - 1), 3),
        "rtl_fpu_stall": int(row["fpu_stall"]),
        "sim_fpu_stall": counts.fpu_stall,
        "rtl_tcdm_conflicts": int(row["tcdm_conflicts"]),
        "sim_tcdm_conflicts": counts.tcdm_conflicts,
        "counts_equal": all(int(row[key]) == getattr(counts, key) for key in EXACT),
        "identity": terms == counts.cycles,
    }


def same_loops(table: Path) -> list[dict[str, Any]]:
    """Rows of the other library that have a kernel of ours with the same inner loop."""
    pairs = []
    for row in csv.DictReader(table.open()):
        n, k, m, transposed = [*row["shape"].split("x"), "", ""][:4]
        ours = SAME_LOOP.get(row["kernel"], (None, None))[int(transposed or 0)]
        # With one term or one column their compiler picked another loop.
        alike = row["fpu"] in ("static", "private") and int(k) > 1 and int(m or 0) >= 4
        if ours is not None and alike:
            pairs.append((row, simulator.Job(ours, f"{n}x{k}x{m}", int(row["cores"]), row["fpu"])))  # pyright: ignore[reportArgumentType]
    found = simulator.run_kernels([job for _, job in pairs])
    return [
        {
            **{key: row[key] for key in ("kernel", "shape", "cores", "fpu")},
            "ours": counts.kernel,
            "rtl_cycles": int(row["cycles"]),
            "sim_cycles": counts.cycles,
            "error_percent": round(100 * (counts.cycles / int(row["cycles"]) - 1), 2),
        }
        for (row, _), counts in zip(pairs, found, strict=True)
    ]


def summarize(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Largest and mean errors per kernel, and whether the issue's targets hold."""
    kernels: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        kernels[line["kernel"]].append(line)
    several = [line for line in lines if int(line["cores"]) > 1]
    alone = [line for line in lines if int(line["cores"]) == 1]

    def misses(line: dict[str, Any]) -> bool:
        return abs(line["error_percent"]) > 4 and abs(line["error_cycles"]) > 100

    def mean(some: list[dict[str, Any]]) -> float:
        return round(float(np.mean([abs(line["error_percent"]) for line in some])), 3)

    return {
        "rows": len(lines),
        "counts_equal": sum(line["counts_equal"] for line in lines),
        "identity_holds": sum(line["identity"] for line in lines),
        "one_core_largest_percent": max(abs(line["error_percent"]) for line in alone),
        "several_cores_mean_percent": mean(several),
        "several_cores_outside_4_percent_and_100_cycles": [
            {key: line[key] for key in ("kernel", "shape", "cores", "fpu", "error_percent")}
            for line in several
            if misses(line)
        ],
        "per_kernel": {
            name: {
                "rows": len(some),
                "largest_percent": max((line["error_percent"] for line in some), key=abs),
                "mean_percent": mean(some),
            }
            for name, some in sorted(kernels.items())
        },
    }


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """Error of every row, one column per kernel."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = sorted({line["kernel"] for line in lines})
    figure, axes = plt.subplots(figsize=(12, 4.5), layout="constrained")
    marks = (("1", "o"), ("2", "v"), ("4", "s"), ("8", "x"), ("9", "+"))
    for cores, marker in marks:
        some = [line for line in lines if line["cores"] == cores]
        axes.plot(
            [names.index(line["kernel"]) for line in some],
            [line["error_percent"] for line in some],
            marker,
            fillstyle="none",
            label=f"{cores} core{'s' if cores != '1' else ''}",
        )
    axes.axhspan(-4, 4, alpha=0.1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_ylabel("simulated / RTL cycles - 1 (%)")
    axes.legend(ncols=5)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("runs/rtl_validation"))
    parser.add_argument("--table", type=Path, nargs="+", default=[DATA / "cycles.csv"])
    parser.add_argument("--other", type=Path, default=DATA / "trainlib_cycles.csv")
    options = parser.parse_args()
    rows = [row for table in options.table for row in csv.DictReader(table.open())]
    start = time.perf_counter()
    counts = simulator.run_kernels([job(row) for row in rows])
    seconds = time.perf_counter() - start
    lines = [compare(row, found) for row, found in zip(rows, counts, strict=True)]
    summary = summarize(lines)
    summary["seconds"] = round(seconds, 1)
    others = same_loops(options.other)
    summary["same_loops"] = others
    options.out.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_atomic(options.out / "rows.csv", table.getvalue())
    text = json.dumps(summary, indent=2)
    write_atomic(options.out / "summary.json", text + "\n")
    draw(lines, options.out / "errors.png")
    print(text)


if __name__ == "__main__":
    raise SystemExit(cli.answer("rtl_validation", main))
