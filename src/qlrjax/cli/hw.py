"""`qlrjax hw`: cycles, bytes and joules of learning on a simulated chip.

    qlrjax hw event --platform vega --latent-layer 20 --replays 1500 --bits 8
    qlrjax hw event --network efficientnet_lite0 --cut b14/add
    qlrjax hw layer 20
    qlrjax hw compare vega stm32l4 --latent-layers 20 23 27
    qlrjax hw kernel p1_2x4 --shape 32x64x64 --cores 8 --fpu static --json
    qlrjax hw kernel --rows cycles.csv
    qlrjax hw loop --rows tiles.csv

`main(words)` is what `qlrjax.cli` calls. Every command is a frozen dataclass with `show()`, which
returns the exit code, so that a script can build and run one, too. `--json` and `--csv` print data
only; units are in the keys. Recalled or assumed figures behind a table are named below it.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pulpsim.cost import energy, platform
from pulpsim.cost.chip import FpuMap
from pulpsim.cost.platform import Platform
from pulpsim.event import event, passes, tables
from pulpsim.event.setting import EventSetting, Maps, Schedule, Statistics

from qlrjax import weights
from qlrjax.cli import hw_rows
from qlrjax.cli import hw_show as hw_show
from qlrjax.network import Layer, Network, mobilenet_v1
from qlrjax.runs import outside


@dataclasses.dataclass(frozen=True)
class Learning:
    """What is learned.

    Attributes:
        replays: Slots of the replay memory.
        bits: Width of a stored code, 1 to 8.
        images: New images of the event.
        epochs: Passes over them.
        minibatch: New and replayed latents together.
        statistics: "minibatch" is what `qlrjax run` trains with: batch renormalisation over the
            whole mini-batch. "running" lets samples pass one by one with stored statistics.
        schedule: "blocked" is two levels of blocks over whole mini-batches; "layer-by-sample" is
            the older one, for comparison.
        maps: How maps are stored off chip between passes.
        samples_per_pass: With running statistics layer by sample, samples that pass a layer
            together.
        network: mobilenet_v1, efficientnet_lite0, resnet8, ds_cnn, mobilenet_v2:random:0, or an
            .onnx: whatever `qlrjax run --weights` takes.
        width: Channel multiplier of MobileNet-V1.
        resolution: Side of an image in pixels; without it, what the network was made for, or 128.
        classes: Number of logits.
    """

    replays: int = 1500
    bits: int = 8
    images: int = 300
    epochs: int = 4
    minibatch: int = 128
    statistics: Statistics = "minibatch"
    schedule: Schedule = "blocked"
    maps: Maps = "float32"
    samples_per_pass: int = 1
    network: Annotated[str, tyro.conf.arg(aliases=["--weights"])] = "mobilenet_v1"
    width: float = 1.0
    resolution: int | None = None
    classes: int = 50

    @property
    def is_mobilenet(self) -> bool:
        """Whether it is MobileNet-V1, whose latent layers have defaults here."""
        return self.network in ("mobilenet_v1", "builtin")

    def outline(self) -> Network:
        """The network that learns.

        Raises:
            ValueError: There is no such network, or it has no channel multiplier.
        """
        if self.is_mobilenet:
            return mobilenet_v1(self.width, self.resolution or 128, self.classes)
        if self.width != 1.0:
            raise ValueError(f"--width is of mobilenet_v1, not of {self.network}; leave it out")
        return weights.outline(self.network, self.classes, self.resolution)

    def latent_layer(self, chosen: int | None, cut: str) -> int:
        """The first trained layer: by its number, or by what crosses into it.

        Args:
            chosen: A number, or None for 20 of MobileNet-V1 and the classifier of others.
            cut: A layer's name, or nothing.

        Raises:
            ValueError: Both are given, or the network cannot be cut there.
        """
        if cut:
            if chosen is not None:
                raise ValueError("--latent-layer and --cut exclude each other; give one of them")
            return self.outline().latent_layer_after(cut)
        if chosen is not None:
            return chosen
        return 20 if self.is_mobilenet else self.outline().last

    def setting(self, latent_layer: int) -> EventSetting:
        """The event that is costed."""
        return EventSetting(
            self.outline(),
            latent_layer,
            self.replays,
            self.bits,
            self.images,
            self.epochs,
            self.minibatch,
            statistics=self.statistics,
            samples_per_pass=self.samples_per_pass,
            schedule=self.schedule,
            maps=self.maps,
        )


@dataclasses.dataclass(frozen=True)
class Chip:
    """Changes to the platform; what is not given stays as its file says.

    Attributes:
        cores: Workers.
        l1_kib: L1 in KiB.
        dma_bits: Width of the cluster DMA in bits a cycle.
        fpu: Map of cores to FPUs.
    """

    cores: int | None = None
    l1_kib: int | None = None
    dma_bits: int | None = None
    fpu: FpuMap | None = None

    def apply(self, chip: Platform) -> Platform:
        """The changed platform."""
        changes: dict[str, Any] = {}
        if self.cores is not None:
            changes["cluster.cores"] = self.cores
        if self.l1_kib is not None:
            changes["cluster.l1_bytes"] = self.l1_kib * 1024
        if self.dma_bits is not None:
            if self.dma_bits < 8 or self.dma_bits % 8:
                raise ValueError(
                    f"--dma-bits {self.dma_bits} are no whole number of bytes; give a multiple of 8"
                )
            changes["dma.bus_bytes"] = self.dma_bits // 8
        if self.fpu is not None:
            changes["cluster.fpu_map"] = self.fpu
        cores = changes.get("cluster.cores", chip.cluster.cores)
        private = changes.get("cluster.fpu_map", chip.cluster.fpu_map) == "private"
        if private or cores < chip.cluster.fpus:
            changes["cluster.fpus"] = cores
        return chip.replace(**changes) if changes else chip


@dataclasses.dataclass(frozen=True)
class EventCommand:
    """Time, energy and memory of one learning event.

    Attributes:
        platform: Name of a shipped platform, or the path of a .toml file.
        latent_layer: First trained layer; without it 20 of MobileNet-V1, the classifier of others.
        cut: The layer whose output is the latent, see `qlrjax network NAME`.
        events_per_hour: For the battery's lifetime.
        by: Rows of the table; "pass" is every pass with its blocks, tiles, bytes and what it waits
            for.
        trace: A file for one mini-batch in the Chrome trace format (ui.perfetto.dev opens it).
        roofline: A file for a picture of all passes under the roofs of units and memories.
        force: Replace these files where they are there already.
    """

    platform: str = "vega"
    latent_layer: int | None = None
    cut: str = ""
    events_per_hour: float = 60.0
    by: Literal["step", "layer", "pass"] = "step"
    trace: Path | None = None
    roofline: Path | None = None
    force: bool = False
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    chip: Annotated[Chip, tyro.conf.arg(name="")] = Chip()
    output: Annotated[hw_show.Output, tyro.conf.arg(name="")] = hw_show.AS_TABLE

    def show(self) -> int:
        """Shows the event."""
        energy.check_rate(self.events_per_hour)
        for path in filter(None, (self.trace, self.roofline)):
            outside.check_file(path, self.force)
        chip = self.chip.apply(platform.load(self.platform))
        latent_layer = self.learning.latent_layer(self.latent_layer, self.cut)
        result = event.event_cost(self.learning.setting(latent_layer), chip)
        table = {"step": tables.steps, "layer": tables.layers, "pass": passes.rows}[self.by]
        rows = self.output.select(table(result))
        self._write(result)
        whole = tables.summary(result, self.events_per_hour)
        if self.output.json:
            data = {
                "summary": whole,
                {"pass": "passes"}.get(self.by, self.by + "s"): rows,
                "memory": tables.memory(result),
                "unproven": hw_show.notes([chip]),
            }
            print(json.dumps(data, indent=1))
        elif self.output.csv:
            print(hw_show.csv_text(rows), end="")
        else:
            title = f"One learning event on {chip.name}, latent layer {latent_layer}"
            if not self.learning.is_mobilenet:
                network = result.setting.network
                title = f"{title} of {network.name} (after {network.cut_name(latent_layer)})"
            hw_show.show(f"{title}; {result.setting.words}", rows)
            hw_show.show("Memory", tables.memory(result))
            hw_show.say(result, whole)
            hw_show.foot([chip])
        return 0

    def _write(self, result: event.EventCost) -> None:
        if self.trace is not None:
            from pulpsim.event import trace

            trace.write(result, self.trace)
        if self.roofline is not None:
            from pulpsim.event import roofline

            roofline.write(result, self.roofline)


@dataclasses.dataclass(frozen=True)
class LayerCommand:
    """Every pass of one layer: kernel, tile, cycles and what bounds it.

    Attributes:
        index: Of the layer, 0 to 27 for MobileNet-V1, or its name.
        latent_layer: First trained layer; at or below `index` the layer is trained, above frozen.
        cut: The same by the layer whose output is the latent.
        platform: Name of a shipped platform, or the path of a .toml file.
    """

    index: Annotated[str, tyro.conf.Positional]
    latent_layer: int | None = None
    cut: str = ""
    platform: str = "vega"
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    chip: Annotated[Chip, tyro.conf.arg(name="")] = Chip()
    output: Annotated[hw_show.Output, tyro.conf.arg(name="")] = hw_show.AS_TABLE

    def show(self) -> int:
        """Shows the layer."""
        chip = self.chip.apply(platform.load(self.platform))
        row = hw_show.layer_of(self.learning.outline(), self.index)
        setting = self.learning.setting(self._cut(row))
        result = event.event_cost(setting, chip).select(layer=row.index)
        if not result.passes:
            raise ValueError(f"{row.name} takes no time in this event; choose another layer")
        title = f"Layer {row.index} {row.name}, {row.kind}, {row.macs} MAC, on {chip.name}"
        title = f"{title}; {setting.words}"
        hw_show.print_rows(title, tables.passes(result), self.output, [chip])
        return 0

    def _cut(self, row: Layer) -> int:
        """What is asked for, or a cut below the layer, so that its input gradient is there."""
        if self.cut or self.latent_layer is not None:
            return self.learning.latent_layer(self.latent_layer, self.cut)
        cuts = self.learning.outline().latent_layers
        return max((cut for cut in cuts if cut < row.index), default=0)


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """The same events on several chips; ratios are to the first.

    Attributes:
        platforms: Names or paths, the reference first.
        latent_layers: First trained layers; without them 20 to 27 of MobileNet-V1, and the last
            eight cuts of others.
        cut: Layers whose outputs are the latents, in place of numbers.
    """

    platforms: Annotated[tuple[str, ...], tyro.conf.Positional] = ("vega", "stm32l4")
    latent_layers: tuple[int, ...] | None = None
    cut: tuple[str, ...] = ()
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    output: Annotated[hw_show.Output, tyro.conf.arg(name="")] = hw_show.AS_TABLE

    def show(self) -> int:
        """Shows the comparison."""
        if len(self.platforms) < 2:
            raise ValueError("compare needs two platforms or more, such as vega stm32l4")
        network = self.learning.outline()
        chosen = self.latent_layers
        if self.cut:
            chosen = tuple(network.latent_layer_after(name) for name in self.cut)
        elif chosen is None:
            chosen = network.latent_layers[-8:]
        if not chosen:
            raise ValueError("compare needs a latent layer or more, such as --latent-layers 20 27")
        chips = [platform.load(name) for name in self.platforms]
        settings = [self.learning.setting(layer) for layer in chosen]
        results = [event.event_costs(settings, chip) for chip in chips]
        rows = tables.comparison(results)
        rows += tables.means(rows)
        title = f"One learning event, by latent layer; {settings[0].words}"
        hw_show.print_rows(title, rows, self.output, chips)
        return 0


_SIGPIPE = 141  # what a shell reports of a program that wrote into a closed pipe
COMMANDS: dict[str, Any] = {
    "event": EventCommand,
    "layer": LayerCommand,
    "compare": CompareCommand,
    "kernel": hw_rows.KernelCommand,
    "loop": hw_rows.LoopCommand,
}


def main(words: Sequence[str]) -> int:
    """Runs `qlrjax hw WORDS` and returns its exit code.

    Raises:
        ValueError: Bad input, in one sentence.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="qlrjax hw", description=(__doc__ or "").partition("\n")[0], args=words
    )
    try:
        code = command.show()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE
    return code
