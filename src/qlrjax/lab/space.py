"""The design space: which choices there are, and what the simulated chip says each costs."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from pulpsim.cost import platform as platforms
from pulpsim.cost.platform import Platform
from pulpsim.event import event
from pulpsim.event.setting import EventSetting

from qlrjax import weights
from qlrjax.lab.accuracy import Measured
from qlrjax.lab.plan import Choice, Costed
from qlrjax.network import Network

CHOICES_AT_MOST = 20_000


@dataclasses.dataclass(frozen=True)
class Space:
    """What is enumerated: every value with every other.

    Attributes:
        networks: By their names as weights, see `qlrjax run --weights`.
        latent_layers: First trained layers; layers that a network lacks are left out.
        replays: Slots of replay memory.
        bits: Of a stored code, 1 to 8.
        statistics: What normalises while training; "minibatch" is what `qlrjax run` does.
        maps: How maps lie off chip.
        cores: Workers; empty is the platform's number.
        l1_kib: L1 in KiB; empty is the platform's.
    """

    networks: tuple[str, ...] = ("builtin",)
    latent_layers: tuple[int, ...] = tuple(range(20, 28))
    replays: tuple[int, ...] = (100, 250, 500, 1000, 1500, 3000)
    bits: tuple[int, ...] = (8, 7, 6)
    statistics: tuple[str, ...] = ("minibatch",)
    maps: tuple[str, ...] = ("float32",)
    cores: tuple[int, ...] = ()
    l1_kib: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Event:
    """The learning event that is costed.

    Attributes:
        images: New images.
        epochs: Passes over them.
        minibatch: New and replayed latents together.
        drop_remainder: New latents that do not fill a mini-batch are left out.
        resolution: Side of an image, pixels.
        classes: Logits.
    """

    images: int = 300
    epochs: int = 4
    minibatch: int = 128
    drop_remainder: bool = False
    resolution: int = 128
    classes: int = 50


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A choice, the event that it learns, and its accuracy where it was measured."""

    choice: Choice
    learned: Event
    measured: Measured | None = None


def enumerated(space: Space, chip: Platform) -> list[Choice]:
    """All choices of a space on a chip.

    Raises:
        ValueError: There are too many.
    """
    cores = space.cores or (chip.cluster.cores,)
    l1_kib = space.l1_kib or (chip.cluster.l1_bytes // 1024,)
    axes = (
        *(space.networks, space.latent_layers, space.replays, space.bits, space.statistics),
        *(space.maps, cores, l1_kib),
    )
    count = math.prod(len(axis) for axis in axes)
    if count > CHOICES_AT_MOST:
        raise ValueError(f"these are {count} settings, more than {CHOICES_AT_MOST}; name fewer")
    return [Choice(*point) for point in itertools.product(*axes)]


def of_measured(found: Measured, space: Space, chip: Platform, images: int) -> list[Candidate]:
    """Choices that learn as a sweep's setting did: only cores, L1 and maps are free.

    Settings that the device does not have, float replays or a float frozen stage, give none.

    Args:
        found: The setting.
        space: Whose cores, L1 and maps count.
        chip: The platform.
        images: Of an event; 0 takes the sweep's own.
    """
    values = found.values
    if values["frozen"] != "int8" or values["bits"] > 8:
        return []
    running = values["protocol.normalization"] == "running"
    exact = dataclasses.replace(
        space,
        networks=(values["weights"],),
        latent_layers=(values["latent_layer"],),
        replays=(values["replays"],),
        bits=(values["bits"],),
        statistics=("running" if running else "minibatch",),
    )
    learned = Event(
        images=images or found.images,
        epochs=values["protocol.epochs"],
        minibatch=values["protocol.minibatch"],
        drop_remainder=values["protocol.drop_remainder"],
        resolution=values["resolution"],
        classes=found.classes,
    )
    return [Candidate(choice, learned, found) for choice in enumerated(exact, chip)]


def cost(
    candidates: Sequence[Candidate], chip: Platform, events_per_hour: float
) -> tuple[list[Costed], list[str]]:
    """Costs of candidates on a chip, and what could not be costed.

    Args:
        candidates: What can be chosen; passes that they share are searched once.
        chip: With the cores and the L1 that choices replace.
        events_per_hour: For the battery's lifetime.

    Returns:
        Costed choices, and a sentence for every kind of choice that the chip's model refuses.
    """
    costed: list[Costed] = []
    refused: list[str] = []
    networks: dict[tuple, Network] = {}
    by_chip: dict[tuple[int, int], list[tuple[Candidate, EventSetting]]] = {}
    for candidate in candidates:
        choice, learned = candidate.choice, candidate.learned
        key = (choice.network, learned.classes, learned.resolution)
        if key not in networks:
            networks[key] = _network(*key)
        try:
            setting = _setting(choice, learned, networks[key])
        except ValueError as error:
            refused.append(f"{choice.network}, layer {choice.latent_layer}: {error}")
        else:
            group = by_chip.setdefault((choice.cores, choice.l1_kib), [])
            group.append((candidate, setting))
    for (cores, l1_kib), group in by_chip.items():
        try:
            changed = _changed(chip, cores, l1_kib)
            results = event.event_costs([setting for _, setting in group], changed)
        except ValueError as error:
            refused.append(f"{cores} cores with {l1_kib} KiB of L1: {error}")
            continue
        for (candidate, setting), result in zip(group, results, strict=True):
            costed.append(_costed(candidate, setting, result, events_per_hour))
    return costed, list(dict.fromkeys(refused))


def _network(name: str, classes: int, resolution: int) -> Network:
    # A MobileNet-V1 in a file is as wide as its weights say; of others the outline is enough.
    if weights.is_path(name):
        return weights.load(name, classes, resolution)[0]
    return weights.outline(name, classes, resolution)


def _costed(
    candidate: Candidate, setting: EventSetting, result: event.EventCost, events_per_hour: float
) -> Costed:
    too_fast = result.seconds * events_per_hour > 3600
    return Costed(
        choice=candidate.choice,
        memory_bytes=result.memory.learning_bytes,
        replay_bytes=setting.replays * setting.latent_bytes,
        seconds=result.seconds,
        joules=result.joules,
        lifetime_hours=0.0 if too_fast else result.lifetime_hours(events_per_hour),
        fits_chip=result.memory.fits,
        measured=candidate.measured,
    )


def _changed(chip: Platform, cores: int, l1_kib: int) -> Platform:
    changes: dict[str, Any] = {}
    if cores != chip.cluster.cores:
        changes["cluster.cores"] = cores
        if chip.cluster.fpu_map == "private" or cores < chip.cluster.fpus:
            changes["cluster.fpus"] = cores
    if l1_kib * 1024 != chip.cluster.l1_bytes:
        changes["cluster.l1_bytes"] = l1_kib * 1024
    return chip.replace(**changes) if changes else chip


def _setting(choice: Choice, learned: Event, network: Network) -> EventSetting:
    values: dict[str, Any] = {
        "replays": choice.replays,
        "bits": choice.bits,
        "images": learned.images,
        "epochs": learned.epochs,
        "minibatch": learned.minibatch,
        "drop_remainder": learned.drop_remainder,
        "statistics": choice.statistics,
    }
    if "maps" in {field.name for field in dataclasses.fields(EventSetting)}:
        values["maps"] = choice.maps
    elif choice.maps != "float32":
        raise ValueError(f"the chip's model stores maps as float32, not as {choice.maps}")
    return EventSetting(network, choice.latent_layer, **values)


def load(name: str) -> Platform:
    """A platform by its name or its .toml file."""
    return platforms.load(name)
