"""Cycles of a training step beside TrainDeeploy's: whole networks, one sample, FP32, 8 cores.

Source: TrainDeeploy's test configuration (2026): GAP9 on GVSoC, 8 cores, batch 1, FP32; cycles a
training step: MobileNet-V1 0.25 53.1 M, ResNet8 47.8 M, DS-CNN 0.80 M (read).

Command:

    python experiments/hw_traindeeploy.py --out runs/hw_traindeeploy

Expected: fewer cycles than theirs for the first two; DS-CNN's 0.80 M cannot be the published
network on four FPUs (8.0 M multiply-accumulates of three products), so its row has ours alone.
Minutes on 2 cores: 0.5.
Verified: docs/chip.md.

Networks are those of MLPerf Tiny: 96 x 96 x 3 with 2 classes, 32 x 32 x 3 with 10, 49 x 10 with 12.
What we cost: every product forward, weight gradient with SGD, input gradient; of MobileNet also
normalisation, ReLU, pooling and loss. Not costed: adds and normalisation of ResNet8 and DS-CNN.
"""

import argparse
from pathlib import Path
from typing import Any

from pulpsim.cost import blocks, platform
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.cost.blocks import Step, Stream
from pulpsim.cost.machine import machine
from pulpsim.cost.planes import Call
from pulpsim.cost.search import Costs
from pulpsim.cost.sides import Side
from pulpsim.event import event, figures
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.network import mobilenet_v1

THEIRS = {"MobileNet-V1 0.25": 53.1e6, "ResNet8": 47.8e6, "DS-CNN": 0.80e6}
# (kernel positions, channels in and out, pixels in and out)
RESNET8 = (
    (9, 3, 16, 1024, 1024),
    (9, 16, 16, 1024, 1024),
    (9, 16, 16, 1024, 1024),
    (9, 16, 32, 1024, 256),
    (9, 32, 32, 256, 256),
    (1, 16, 32, 256, 256),
    (9, 32, 64, 256, 64),
    (9, 64, 64, 64, 64),
    (1, 32, 64, 64, 64),
    (1, 64, 10, 1, 1),
)
DS_CNN = ((40, 1, 64, 490, 125), *((1, 64, 64, 125, 125),) * 4, (1, 64, 12, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--platform", default="vega")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chip = platform.load(arguments.platform)
    rows = [
        row("MobileNet-V1 0.25", chip.name, *mobilenet(chip)),
        row("ResNet8", chip.name, *products(RESNET8, chip)),
        row("DS-CNN", chip.name, *products(DS_CNN, chip)),
    ]
    for one in rows:
        print(one)
    made = figures.figure(5.0, 3.0)
    axes = made.add_subplot()
    axes.bar([one["network"] for one in rows], [one["ours_cycles"] / 1e6 for one in rows])
    axes.set_ylabel("million cycles a step (simulated)")
    figures.save(arguments.out, "traindeeploy", rows, made)


def row(network: str, chip: str, cycles: float, macs: float) -> dict[str, Any]:
    """Ours beside theirs."""
    theirs = THEIRS[network]
    return {
        "network": network,
        "platform": chip,
        "step_MMAC": macs / 1e6,
        "ours_cycles": cycles,
        "theirs_cycles": theirs,
        "ours_mac_per_cycle": macs / cycles,
        "theirs_mac_per_cycle": macs / theirs,
    }


def mobilenet(chip: platform.Platform) -> tuple[float, float]:
    """Cycles and MACs of a step through the whole network, stored statistics."""
    network = mobilenet_v1(0.25, 96, 2)
    case = EventSetting(network, 0, 0, images=1, epochs=1, minibatch=1, statistics="running")
    found = event.event_cost(case, chip).adaptive
    return found.cost.cycles, found.macs


def products(convolutions: Any, chip: platform.Platform) -> tuple[float, float]:
    """Cycles and MACs of the three products of every convolution."""
    search, free = Costs(machine(chip)), blocks.block_bytes(chip)
    cycles, macs = 0.0, 0.0
    for number, sizes in enumerate(convolutions):
        for work in three(*sizes, first=number == 0):
            found = work.search(search, free).cost
            cycles, macs = cycles + found.cycles, macs + work.macs
    return cycles, macs


def three(
    taps: int, inner: int, outer: int, before: int, after: int, first: bool
) -> list[BlockedProduct]:
    """Forward, weight gradient, and (but for the first layer) input gradient."""
    unfolded = taps > 1
    weights, both = Stream("w"), (Stream("w"), Stream("momentum"))
    x = Stream("x", 4.0, before / (taps * after) if unfolded else 1.0)
    dy = Stream("dy", 4.0, 1.0 / taps if unfolded else 1.0)
    sgd = Step((Call("e1_sgd", "elements", 4),), (4.0, 4.0, 4.0), (4.0, 4.0))
    terms, pixels = -(-taps * inner // 4) * 4, -(-after // 4) * 4
    columns = Side((x,), share=x.share)
    found = [
        BlockedProduct(
            "p1_2x4",
            outer,
            taps * inner,
            pixels,
            Side((weights,)),
            columns,
            Side(writes=(Stream("z"),)),
            columns=unfolded,
        ),
        BlockedProduct(
            "p2a_2x4",
            outer,
            pixels,
            terms,
            Side((Stream("dz"),)),
            columns,
            Side(both, sgd, both, in_place=True),
            ("n", "m"),
            columns=unfolded,
        ),
    ]
    if not first:
        found.append(
            BlockedProduct(
                "p3_2x4",
                inner,
                taps * outer,
                -(-before // 4) * 4,
                Side((weights,)),
                Side((dy,), share=dy.share),
                Side(writes=(Stream("dx"),)),
                ("k", "k"),
                columns=unfolded,
            )
        )
    return found


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_traindeeploy", main))
