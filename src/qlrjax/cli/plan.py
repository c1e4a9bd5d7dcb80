"""`qlrjax plan`: which setting fits a device, and why the next better one does not."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pulpsim.cost import energy
from rich.console import Console

from qlrjax import files, weights
from qlrjax.cli import hw_show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.lab import accuracy, plan, plan_text, space, table
from qlrjax.lab.plan import Answer, Limits
from qlrjax.names import for_rich
from qlrjax.runs import outside

_BYTES = {
    **{"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9},
    **{"kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30},
}
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SHOWN_AT_MOST = 20


@dataclasses.dataclass(frozen=True)
class PlanArguments:
    """Find the best setting that fits a device.

    Attributes:
        platform: Name of a shipped platform, or the path of a .toml file.
        memory: All memory that learning may take, such as 64MB or 48MiB.
        event_latency: At most so long to learn an event, such as 60s or 2min.
        lifetime: At least so long a battery, such as 500h.
        events_per_hour: For the lifetime.
        accuracies: Folder of a sweep, or its table; only what it learned is then chosen from.
        network: Networks, by their names as of `qlrjax run --weights`.
        latent_layers: First trained layers.
        cut: The same by the layers whose outputs are the latents; for one network.
        replays: Slots of replay memory.
        bits: Of a stored code, 1 to 8.
        statistics: What normalises while training: minibatch (as `qlrjax run` does), running.
        maps: How maps lie off chip: float32, float16.
        cores: Workers; the platform's by default.
        l1_kib: L1 in KiB; the platform's by default.
        images: New images of an event; 0 is 300, or the sweep's own.
        resolution: Side of an image, pixels.
        classes: Logits.
        json: Print JSON and nothing else.
        picture: Also write the Pareto picture to this .png.
        force: Replace a picture that is there already.
    """

    platform: str = "vega"
    memory: str = ""
    event_latency: str = ""
    lifetime: str = ""
    events_per_hour: float = 60.0
    accuracies: Path | None = None
    network: tuple[str, ...] = space.Space.networks
    latent_layers: tuple[int, ...] = space.Space.latent_layers
    cut: tuple[str, ...] = ()
    replays: tuple[int, ...] = space.Space.replays
    bits: tuple[int, ...] = space.Space.bits
    statistics: tuple[str, ...] = space.Space.statistics
    maps: tuple[str, ...] = space.Space.maps
    cores: tuple[int, ...] = ()
    l1_kib: tuple[int, ...] = ()
    images: int = 0
    resolution: int = 128
    classes: int = 50
    json: bool = False
    picture: Path | None = None
    force: bool = False

    def limits(self) -> Limits:
        """What the device allows.

        Raises:
            ValueError: A quantity cannot be read; its flag is named.
        """
        energy.check_rate(self.events_per_hour)
        hours = quantity("--lifetime", self.lifetime, _SECONDS, "500h")
        return Limits(
            memory_bytes=quantity("--memory", self.memory, _BYTES, "64MB"),
            event_seconds=quantity("--event-latency", self.event_latency, _SECONDS, "60s"),
            lifetime_hours=None if hours is None else hours / 3600,
            events_per_hour=self.events_per_hour,
        )

    def space(self) -> space.Space:
        """What is enumerated."""
        latent_layers = self.latent_layers
        if self.cut:
            if len(self.network) != 1:
                raise ValueError("--cut names layers of one network; give one --network")
            outline = weights.outline(self.network[0], self.classes, self.resolution)
            latent_layers = tuple(outline.latent_layer_after(name) for name in self.cut)
        return space.Space(
            self.network,
            latent_layers,
            self.replays,
            self.bits,
            self.statistics,
            self.maps,
            self.cores,
            self.l1_kib,
        )


def quantity(flag: str, text: str, units: dict[str, float], example: str) -> float | None:
    """A positive number with a unit, in bytes or seconds; None for no text.

    Raises:
        ValueError: It is none.
    """
    if not text:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1]) <= 0:
        known = ", ".join(name for name in units if name)
        raise ValueError(f"{flag} is {text!r}; give a number with a unit ({known}), like {example}")
    return float(match[1]) * unit


def main(words: Sequence[str]) -> int:
    """Shows the answer.

    Returns:
        0, or 1 where nothing fits.
    """
    arguments = parse_arguments(PlanArguments, words, "qlrjax plan")
    limits, chip = arguments.limits(), space.load(arguments.platform)
    if arguments.picture:
        outside.check_file(arguments.picture, arguments.force)
    notes: list[str] = []
    if arguments.accuracies is None:
        learned = space.Event(
            images=arguments.images or space.Event.images,
            resolution=arguments.resolution,
            classes=arguments.classes,
        )
        choices = space.enumerated(arguments.space(), chip)
        candidates = [space.Candidate(choice, learned) for choice in choices]
    else:
        found = accuracy.measured(table.read(arguments.accuracies))
        parts = [space.of_measured(one, arguments.space(), chip, arguments.images) for one in found]
        left_out = sum(not part for part in parts)
        if left_out:
            notes.append(
                f"{left_out} settings of the sweep with float replays or a float frozen "
                "stage are left out: the chip has neither"
            )
        candidates = [candidate for part in parts for candidate in part]
        if not candidates:
            raise ValueError(f"{arguments.accuracies} has no setting that the chip could run")
    costed, refused = space.cost(candidates, chip, arguments.events_per_hour)
    notes += [f"not costed: {sentence}" for sentence in refused]
    result = plan.answer(costed, limits)
    title = f"{chip.name}: {plan_text.wanted(limits) or 'no limits'}"
    if arguments.picture:
        from qlrjax.lab import plan_picture

        files.write_atomic(arguments.picture, plan_picture.picture(result, title))
    sources = plan_text.provenance(result, hw_show.notes([chip]))
    if arguments.json:
        print(json.dumps(plan_text.as_json(result, title, sources, notes), indent=1))
    else:
        _show(result, title, sources + notes)
    return 0 if result.recommended else 1


def _show(result: Answer, title: str, notes: Sequence[str]) -> None:
    rows: list[dict[str, Any]] = []
    for one in result.front[:_SHOWN_AT_MOST]:
        choice = one.choice
        rows.append(
            {
                "setting": f"{choice.latent_layer}: {choice.replays} x {choice.bits} bits",
                "accuracy [%]": plan_text.percent(one),
                "memory_MB": one.memory_bytes / 1e6,
                "event_s": one.seconds,
                "event_J": one.joules,
                "battery_h": one.lifetime_hours,
                "statistics": choice.statistics,
                "cores": choice.cores,
                "fits": "no" if one.misses(result.limits) else "yes",
            }
        )
    rest = len(result.front) - _SHOWN_AT_MOST
    more = f", {rest} more (--json)" if rest > 0 else ""
    hw_show.show(f"Pareto front on {title}{more} (layer: replays)", rows)
    console = Console()
    for line in [*plan_text.sentences(result), *notes]:
        console.print(for_rich(line), soft_wrap=True)
