"""Cycles of a training step beside TrainDeeploy's: whole networks, one sample, FP32, 8 cores.

Source: TrainDeeploy's test configuration for GAP9 (`test_gap9_tiled_config.py`, 2026): GVSoC, 8
cores, batch 1, FP32; cycles a training step: MobileNet-V1 0.25 53.1 M, ResNet8 47.8 M, DS-CNN
0.80 M (read). Sizes are its exporters' defaults (Onnx4Deeploy, read).

Command:

    python experiments/hw_traindeeploy.py --platforms gap9 vega --out runs/hw_traindeeploy

Expected: a third to a half of their cycles for the first two. 0.80 M cannot be the published
DS-CNN on four FPUs (7.0 M multiply-accumulates of three products); their exporter's DS-CNN is one
of 16 channels on 25 x 10, which has a row of its own (DS-CNN-XS).
Minutes on 2 cores: 0.5.
Verified: docs/chip.md.

Networks are those of MLPerf Tiny: 96 x 96 x 3 with 2 classes, 32 x 32 x 3 with 10, 49 x 10 with 12.
What we cost: every product forward, weight gradient with SGD, input gradient; of MobileNet also
depthwise layers, normalisation, ReLU, pooling and loss. Not costed: adds and normalisation of
ResNet8, depthwise layers and normalisation of DS-CNN.
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

THEIRS = {"MobileNet-V1 0.25": 53.1e6, "ResNet8": 47.8e6, "DS-CNN-XS": 0.80e6}
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
DS_CNN_XS = ((40, 1, 16, 250, 32), *((1, 16, 16, 32, 32),) * 4, (1, 16, 12, 1, 1))
DS_CNN = ((40, 1, 64, 490, 125), *((1, 64, 64, 125, 125),) * 4, (1, 64, 12, 1, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--platforms", nargs="+", default=["gap9", "vega"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chips = [platform.load(name) for name in arguments.platforms]
    rows = [one for chip in chips for one in networks(chip)]
    for one in rows:
        print(one)
    figures.save(arguments.out, "traindeeploy", rows, picture(rows))


def networks(chip: platform.Platform) -> list[dict[str, Any]]:
    """Ours beside theirs, a row a network."""
    return [
        row("MobileNet-V1 0.25", chip.name, *mobilenet(chip)),
        row("ResNet8", chip.name, *products(RESNET8, chip)),
        row("DS-CNN", chip.name, *products(DS_CNN, chip)),
        row("DS-CNN-XS", chip.name, *products(DS_CNN_XS, chip)),
    ]


def picture(rows: list[dict[str, Any]]) -> Any:
    """Bars of all chips and of theirs, a group a network."""
    made = figures.figure(7.0, 3.0)
    axes = made.add_subplot()
    names = list(dict.fromkeys(one["network"] for one in rows))
    chips = [*dict.fromkeys(one["platform"] for one in rows), "TrainDeeploy, GAP9 on GVSoC"]
    for place, chip in enumerate(chips):
        ours = {one["network"]: one["ours_cycles"] for one in rows if one["platform"] == chip}
        found = ours or THEIRS
        left = [x + 0.8 * place / len(chips) for x, name in enumerate(names) if name in found]
        heights = [found[name] / 1e6 for name in names if name in found]
        axes.bar(left, heights, 0.8 / len(chips), align="edge", label=chip)
    axes.set_xticks([x + 0.4 for x in range(len(names))], names)
    axes.set_yscale("log")
    axes.set_ylabel("million cycles a step")
    axes.legend(fontsize=8)
    return made


def row(network: str, chip: str, cycles: float, macs: float) -> dict[str, Any]:
    """Ours beside theirs."""
    theirs = THEIRS.get(network)
    return {
        "network": network,
        "platform": chip,
        "step_MMAC": macs / 1e6,
        "ours_cycles": cycles,
        "theirs_cycles": theirs,
        "ours_mac_per_cycle": macs / cycles,
        "theirs_mac_per_cycle": macs / theirs if theirs else None,
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
