"""VEGA beside an STM32L4 by two programmers, a row a latent layer, and what fits.

Source: Ravaglia et al., JETCAS 2021, abstract (65x faster, 37x more energy-efficient on average);
Rossi et al. 2022, abstract (79 GFLOPS/W in FP32, 615 GOPS/W in int8).

Command:

    python experiments/hw_baseline.py --out runs/hw_baseline [--statistics running] [--layers 20 27]

Expected: see docs/chip-rtl.md. Nothing is fitted to the published figures.
Minutes on 2 cores: 1.
Verified: yes, see docs/chip-rtl.md.
"""

import argparse
import json
from pathlib import Path

from pulpsim.cost import platform
from pulpsim.event import baseline
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.cli import hw_show
from qlrjax.files import write_atomic
from qlrjax.network import mobilenet_v1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/hw_baseline"))
    parser.add_argument("--statistics", choices=("minibatch", "running"), default="minibatch")
    parser.add_argument("--layers", type=int, nargs="+", default=list(range(20, 28)))
    options = parser.parse_args()
    network = mobilenet_v1()
    settings = [
        EventSetting(network, layer, statistics=options.statistics) for layer in options.layers
    ]
    vega, same, competent = (
        platform.load(name) for name in ("vega", "stm32l4", "stm32l4-competent")
    )
    results = baseline.compare(settings, vega, same, competent)
    rows = baseline.rows(results)
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / "baseline.csv", hw_show.csv_text(rows))
    write_atomic(options.out / "baseline.json", json.dumps(rows, indent=1) + "\n")
    sweep = baseline.ram_energy(results)
    write_atomic(options.out / "ram_energy.csv", hw_show.csv_text(sweep))
    hw_show.show(f"VEGA beside an STM32L4, {options.statistics} statistics", rows)
    hw_show.show("Mean energy ratios by energy of the off-chip RAM of both", sweep)


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_baseline", main))
