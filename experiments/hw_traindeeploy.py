"""Cycles of a training step beside TrainDeeploy's: whole networks, one sample, FP32, 8 cores.

Source: TrainDeeploy's test configuration for GAP9 (`test_gap9_tiled_config.py`, 2026): GVSoC, 8
cores, batch 1, FP32; cycles a training step: MobileNet-V1 0.25 53.1 M, ResNet8 47.8 M, DS-CNN
0.80 M (read). Sizes are the defaults of its exporters (Onnx4Deeploy, read).

Command:

    python experiments/hw_traindeeploy.py --platforms gap9 vega --out runs/hw_traindeeploy

Expected: about 0.4 of their cycles for the first two. 0.80 M cannot be the published DS-CNN on four
FPUs (7.7 M multiply-accumulates need 1.9 M cycles); their exporter's DS-CNN is one of 16 channels
on 25 x 10, which has a row of its own (DS-CNN-XS).
Minutes on 2 cores: 0.5.
Verified: docs/chip.md.

Networks are those of MLPerf Tiny: 96 x 96 x 3 with 2 classes, 32 x 32 x 3 with 10, 49 x 10 with 12.
Costed is all that is trained, layers 0 to last, with stored statistics: forward, both gradients,
SGD with momentum, normalisation, ReLU, adds, pooling, loss.
"""

import argparse
from pathlib import Path
from typing import Any

from pulpsim.cost import platform
from pulpsim.event import event, figures
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.network import Network, mobilenet_v1, tiny
from qlrjax.network.build import Builder, Window, square

THEIRS = {"MobileNet-V1 0.25": 53.1e6, "ResNet8": 47.8e6, "DS-CNN-XS": 0.80e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--platforms", nargs="+", default=["gap9", "vega"])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chips = [platform.load(name) for name in arguments.platforms]
    rows = [row(name, network, chip) for chip in chips for name, network in networks().items()]
    for one in rows:
        print(one)
    figures.save(arguments.out, "traindeeploy", rows, picture(rows))


def networks() -> dict[str, Network]:
    """All that are costed, by their names in the table."""
    return {
        "MobileNet-V1 0.25": mobilenet_v1(0.25, 96, 2),
        "ResNet8": tiny.resnet8(),
        "DS-CNN": tiny.ds_cnn(),
        "DS-CNN-XS": ds_cnn_xs(),
    }


def ds_cnn_xs() -> Network:
    """16 channels; 25 x 10 frames unpadded give maps of 8 x 4, as 16 x 8 padded ones do here."""
    build = Builder((16, 8, 1), "tensorflow")
    build.append("stem", "conv", 16, window=Window((10, 4), 2), activation="relu")
    for block in range(4):
        build.append(f"b{block}/dw", "depthwise", window=square(3), activation="relu")
        build.append(f"b{block}/sep", "pointwise", 16, activation="relu")
    return build.finish(
        12,
        bn_epsilon=1e-5,
        pixel_mean=(0.0,),
        pixel_std=(1.0,),
        name="ds_cnn_xs",
        padding_convention="tensorflow",
    )


def row(name: str, network: Network, chip: platform.Platform) -> dict[str, Any]:
    """Ours beside theirs: a step through the whole network, one sample, stored statistics."""
    case = EventSetting(network, 0, 0, images=1, epochs=1, minibatch=1, statistics="running")
    found, theirs = event.event_cost(case, chip).adaptive, THEIRS.get(name)
    return {
        "network": name,
        "platform": chip.name,
        "step_MMAC": found.macs / 1e6,
        "ours_cycles": found.cost.cycles,
        "theirs_cycles": theirs,
        "ours_mac_per_cycle": found.macs_per_cycle,
        "theirs_mac_per_cycle": found.macs / theirs if theirs else None,
    }


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


if __name__ == "__main__":
    raise SystemExit(cli.answer("hw_traindeeploy", main))
