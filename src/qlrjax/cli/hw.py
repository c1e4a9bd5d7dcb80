"""`qlrjax hw`: cycles, bytes and joules of learning on a simulated chip.

    qlrjax hw event --platform vega --latent-layer 20 --replays 1500 --bits 8
    qlrjax hw layer 20
    qlrjax hw compare vega stm32l4 --latent-layers 20 23 27
    qlrjax hw kernel p1_2x4 --shape 32x64x64 --cores 8 --fpu static --json

`main(words)` is what `qlrjax.cli` calls. Every command is a frozen dataclass with `run()`, which
returns the exit code, so that a script can build and run one, too. `--json` and `--csv` print data
only; units are in the keys. Recalled or assumed figures behind a table are named below it.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro
from pulpsim.cost import platform
from pulpsim.cost.chip import FpuMap
from pulpsim.cost.platform import Platform
from pulpsim.event import event, tables
from pulpsim.event.setting import EventSetting, Statistics

from qlrjax.cli import hw_show as cli_hw_show
from qlrjax.network import mobilenet_v1


@dataclasses.dataclass(frozen=True)
class Output:
    """How results are shown.

    Attributes:
        json: Print JSON and nothing else.
        csv: Print CSV and nothing else.
    """

    json: bool = False
    csv: bool = False

    def __post_init__(self) -> None:
        if self.json and self.csv:
            raise ValueError("--json and --csv exclude each other; give one of them")


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
        samples_per_pass: With running statistics, samples that pass a layer together.
        width: Channel multiplier of MobileNet-V1.
        resolution: Side of an image in pixels.
        classes: Number of logits.
    """

    replays: int = 1500
    bits: int = 8
    images: int = 300
    epochs: int = 4
    minibatch: int = 128
    statistics: Statistics = "minibatch"
    samples_per_pass: int = 1
    width: float = 1.0
    resolution: int = 128
    classes: int = 50

    def setting(self, latent_layer: int) -> EventSetting:
        """The event that is costed."""
        return EventSetting(
            mobilenet_v1(self.width, self.resolution, self.classes),
            latent_layer,
            self.replays,
            self.bits,
            self.images,
            self.epochs,
            self.minibatch,
            statistics=self.statistics,
            samples_per_pass=self.samples_per_pass,
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
            changes["dma.bus_bytes"] = self.dma_bits // 8
        if self.fpu is not None:
            changes["cluster.fpu_map"] = self.fpu
        cores = changes.get("cluster.cores", chip.cluster.cores)
        private = changes.get("cluster.fpu_map", chip.cluster.fpu_map) == "private"
        if private or cores < chip.cluster.fpus:
            changes["cluster.fpus"] = cores
        return chip.replace(**changes) if changes else chip


@dataclasses.dataclass(frozen=True)
class Event:
    """Time, energy and memory of one learning event.

    Attributes:
        platform: Name of a shipped platform, or the path of a .toml file.
        latent_layer: First trained layer, 0 to 27.
        events_per_hour: For the battery's lifetime.
        by: Rows of the table.
    """

    platform: str = "vega"
    latent_layer: int = 20
    events_per_hour: float = 60.0
    by: Literal["step", "layer"] = "step"
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    chip: Annotated[Chip, tyro.conf.arg(name="")] = Chip()
    output: Annotated[Output, tyro.conf.arg(name="")] = Output()

    def run(self) -> int:
        """Shows the event."""
        chip = self.chip.apply(platform.load(self.platform))
        result = event.event_cost(self.learning.setting(self.latent_layer), chip)
        rows = tables.steps(result) if self.by == "step" else tables.layers(result)
        whole = tables.summary(result, self.events_per_hour)
        if self.output.json:
            data = {
                "summary": whole,
                self.by + "s": rows,
                "memory": tables.memory(result),
                "unproven": cli_hw_show.notes([chip]),
            }
            print(json.dumps(data, indent=1))
        elif self.output.csv:
            print(cli_hw_show.csv_text(rows), end="")
        else:
            title = f"One learning event on {chip.name}, latent layer {self.latent_layer}"
            cli_hw_show.show(title, rows)
            cli_hw_show.show("Memory", tables.memory(result))
            cli_hw_show.say(result, whole)
            cli_hw_show.foot([chip])
        return 0


@dataclasses.dataclass(frozen=True)
class Layer:
    """Every pass of one layer: kernel, tile, cycles and what bounds it.

    Attributes:
        index: Of the layer, 0 to 27.
        latent_layer: First trained layer; at or below `index` the layer is trained, above frozen.
        platform: Name of a shipped platform, or the path of a .toml file.
    """

    index: Annotated[int, tyro.conf.Positional]
    latent_layer: int | None = None
    platform: str = "vega"
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    chip: Annotated[Chip, tyro.conf.arg(name="")] = Chip()
    output: Annotated[Output, tyro.conf.arg(name="")] = Output()

    def run(self) -> int:
        """Shows the layer."""
        chip = self.chip.apply(platform.load(self.platform))
        # One below, so that the input gradient is there as well.
        cut = max(self.index - 1, 0) if self.latent_layer is None else self.latent_layer
        setting = self.learning.setting(cut)
        setting.network.check_latent_layer(self.index)
        result = event.event_cost(setting, chip).select(layer=self.index)
        row = setting.network.layers[self.index]
        title = f"Layer {self.index} {row.name}, {row.kind}, {row.macs} MAC, on {chip.name}"
        _print(title, tables.passes(result), self.output, [chip])
        return 0


@dataclasses.dataclass(frozen=True)
class Compare:
    """The same events on several chips; ratios are to the first.

    Attributes:
        platforms: Names or paths, the reference first.
        latent_layers: First trained layers.
    """

    platforms: Annotated[tuple[str, ...], tyro.conf.Positional] = ("vega", "stm32l4")
    latent_layers: tuple[int, ...] = tuple(range(20, 28))
    learning: Annotated[Learning, tyro.conf.arg(name="")] = Learning()
    output: Annotated[Output, tyro.conf.arg(name="")] = Output()

    def run(self) -> int:
        """Shows the comparison."""
        if len(self.platforms) < 2:
            raise ValueError("compare needs two platforms or more, such as vega stm32l4")
        chips = [platform.load(name) for name in self.platforms]
        settings = [self.learning.setting(layer) for layer in self.latent_layers]
        results = [event.event_costs(settings, chip) for chip in chips]
        rows = tables.comparison(results)
        mean: dict[str, Any] = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        rows.append({**mean, "latent_layer": "mean"})
        _print("One learning event, by latent layer", rows, self.output, chips)
        return 0


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel on one tile, cycle by cycle, with the columns of the RTL table.

    Attributes:
        name: Of the kernel, such as p1_2x4.
        shape: As in the table: 32x64x64, C16_10x10, n1024, C32_HW16, N32_17x17.
        cores: Workers.
        fpu: Map of cores to FPUs.
    """

    name: Annotated[str, tyro.conf.Positional]
    shape: str
    cores: int = 8
    fpu: FpuMap = "static"
    output: Annotated[Output, tyro.conf.arg(name="")] = Output()

    def run(self) -> int:
        """Shows the row."""
        from pulpsim.cluster.simulator import run_kernel

        row = run_kernel(self.name, self.shape, self.cores, self.fpu)
        values = row if isinstance(row, dict) else dataclasses.asdict(row)
        if self.output.json:
            print(json.dumps(values))
        else:
            _print("One kernel on one tile (cycles)", [values], self.output, [])
        return 0


COMMANDS: dict[str, Any] = {"event": Event, "layer": Layer, "compare": Compare, "kernel": Kernel}


def main(words: Sequence[str]) -> int:
    """Runs `qlrjax hw WORDS` and returns its exit code.

    Raises:
        ValueError: Bad input, in one sentence.
    """
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="qlrjax hw", description=(__doc__ or "").partition("\n")[0], args=words
    )
    return command.run()


def _print(title: str, rows: cli_hw_show.Rows, output: Output, chips: list[Platform]) -> None:
    if output.json:
        print(json.dumps({"rows": rows, "unproven": cli_hw_show.notes(chips)}, indent=1))
    elif output.csv:
        print(cli_hw_show.csv_text(rows), end="")
    else:
        cli_hw_show.show(title, rows)
        cli_hw_show.foot(chips)
