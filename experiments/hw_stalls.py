"""Stalls per instruction of every kernel on common clusters: the table behind tiles and sweeps.

Source: the cycle-stepped arbitration of `pulpsim.cluster`, on its reference tile of every kernel.

Command (from the source tree; rewrites the shipped table):

    python experiments/hw_stalls.py --out hw/pulpsim/cost/stalls.json

Expected: p1_2x4 on 8 cores with shared FPUs 0.19 to 0.27; on the RTL 0.23.
Minutes on 2 cores: 2.
Verified: tests/test_hw_contention.py simulates rows of it again.
"""

import argparse
import json
from pathlib import Path

from pulpsim.cost import contention
from pulpsim.cost.chip import FpuMap
from pulpsim.kernels import KERNELS

from qlrjax import cli
from qlrjax.files import write_atomic

CLUSTERS: tuple[tuple[int, FpuMap, int], ...] = (
    (2, "private", 16),
    (4, "private", 16),
    (8, "private", 16),
    (8, "static", 16),
    (8, "dynamic", 16),
    (4, "private", 8),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rates = {}
    for cores, fpu, banks in CLUSTERS:
        found, name = (
            contention.simulated(cores, fpu, 0, banks),
            contention.entry(cores, fpu, banks),
        )
        rates[name] = {kernel: round(rate, 5) for kernel, rate in found.items()}
        print(f"{name}: p1_2x4 {found['p1_2x4']:.3f} stalls an instruction")
    tiles = {one.name: one.reference for one in KERNELS.values() if one.reference is not None}
    text = json.dumps({"tiles": tiles, "rates": rates}, indent=1)
    write_atomic(out, text + "\n")


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_stalls", main))
