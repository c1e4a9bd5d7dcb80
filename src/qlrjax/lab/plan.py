"""The design-space answer: which setting fits a device, what it costs, and what it gives up.

Bytes, seconds and joules are simulated, by the model behind `qlrjax hw event`; accuracy was
measured, in a sweep. Where there is no sweep, nothing is said of accuracy: then an earlier cut,
more replays and more bits count as better, which is an assumption.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from qlrjax.lab.accuracy import Measured


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a device allows; None is no limit.

    Attributes:
        memory_bytes: Of everything that learning keeps, on and off chip.
        event_seconds: To learn one event.
        lifetime_hours: Of the battery, at least.
        events_per_hour: For the lifetime.
    """

    memory_bytes: float | None = None
    event_seconds: float | None = None
    lifetime_hours: float | None = None
    events_per_hour: float = 60.0


@dataclasses.dataclass(frozen=True)
class Choice:
    """What can be chosen.

    Attributes:
        network: By its name as weights.
        latent_layer: First trained layer.
        replays: Slots of replay memory.
        bits: Of a stored code.
        statistics: "minibatch" (batch renormalisation over the mini-batch) or "running".
        maps: How maps lie off chip, "float32" or "float16".
        cores: Workers.
        l1_kib: L1, KiB.
    """

    network: str
    latent_layer: int
    replays: int
    bits: int
    statistics: str
    maps: str
    cores: int
    l1_kib: int


@dataclasses.dataclass(frozen=True)
class Costed:
    """A choice and what it costs, simulated, and gives, measured.

    Attributes:
        choice: What is chosen.
        memory_bytes: All memory of learning, frozen weights included.
        replay_bytes: Packed latents alone.
        seconds: Of one event.
        joules: Of one event.
        lifetime_hours: Of the battery; 0 where events come faster than they are learned.
        fits_chip: Whether the chip's own memories hold it.
        measured: Accuracy of the setting; None where no sweep has it.
    """

    choice: Choice
    memory_bytes: int
    replay_bytes: int
    seconds: float
    joules: float
    lifetime_hours: float
    fits_chip: bool
    measured: Measured | None = None

    def misses(self, limits: Limits) -> list[str]:
        """Why it does not fit; empty where it does."""
        reasons = []
        if limits.memory_bytes is not None and self.memory_bytes > limits.memory_bytes:
            reasons.append(
                f"{self.memory_bytes / 1e6:.2f} MB of memory, {limits.memory_bytes / 1e6:.2f} MB "
                "allowed"
            )
        if not self.fits_chip:
            reasons.append(f"its {self.memory_bytes / 1e6:.2f} MB overflow the chip's memories")
        if limits.event_seconds is not None and self.seconds > limits.event_seconds:
            reasons.append(f"{self.seconds:.3g} s an event, {limits.event_seconds:g} s allowed")
        wanted = limits.lifetime_hours
        if wanted is not None and self.lifetime_hours < wanted:
            pace = f"{limits.events_per_hour:g} events an hour"
            if self.seconds * limits.events_per_hour > 3600:
                reasons.append(f"{self.seconds:.3g} s an event are too long for {pace}")
            else:
                reasons.append(
                    f"{self.lifetime_hours:.3g} h of battery at {pace}, {wanted:g} h asked for"
                )
        return reasons


@dataclasses.dataclass(frozen=True)
class Answer:
    """What fits, and what does not.

    Attributes:
        limits: Asked for.
        costed: Every choice.
        front: Choices that no other beats in everything, best first.
        recommended: The best of those that fit; None where none does.
        better: Choices that would be better, nearest first, and why each does not fit.
        nearest: Where none fits, the choice that misses by the least factor.
    """

    limits: Limits
    costed: tuple[Costed, ...]
    front: tuple[Costed, ...]
    recommended: Costed | None
    better: tuple[tuple[Costed, list[str]], ...]
    nearest: Costed | None


def answer(costed: Sequence[Costed], limits: Limits) -> Answer:
    """Chooses among costed choices; either all of them have an accuracy, or none does.

    Raises:
        ValueError: There is nothing to choose from.
    """
    if not costed:
        raise ValueError("there is no setting to choose from; widen what is enumerated")
    fitting = [one for one in costed if not one.misses(limits)]
    best = min(fitting, key=lambda one: (_worth(one, descending=True), one.joules), default=None)
    better: list[Costed] = []
    if best is not None:
        floor = _worth(best, descending=True)
        better = [one for one in costed if _worth(one, descending=True) < floor]
        # The nearest first, and of equally good ones the cheapest.
        better.sort(key=lambda one: (_worth(one), one.joules))
        better = _one_of_each(better)
    front = sorted(pareto(costed), key=lambda one: (_worth(one, descending=True), one.joules))
    nearest = None if fitting else min(costed, key=lambda one: _excess(one, limits))
    return Answer(
        limits,
        tuple(costed),
        tuple(front),
        best,
        tuple((one, one.misses(limits)) for one in better),
        nearest,
    )


def pareto(costed: Sequence[Costed]) -> list[Costed]:
    """Choices that no other equals or beats in worth, memory, time and energy, and beats in one."""
    points = np.array(
        [(*_merits(one), -one.memory_bytes, -one.seconds, -one.joules) for one in costed], float
    )
    beaten = [
        bool(((points >= point).all(axis=1) & (points > point).any(axis=1)).any())
        for point in points
    ]
    return [one for one, is_beaten in zip(costed, beaten, strict=True) if not is_beaten]


def _merits(one: Costed) -> tuple[float, ...]:
    """What is better the more of it there is."""
    if one.measured is not None:
        return (one.measured.mean,)
    choice = one.choice
    return (float(-choice.latent_layer), float(choice.replays), float(choice.bits))


def _worth(one: Costed, descending: bool = False) -> tuple[float, ...]:
    """To order by: accuracy, or what stands for it."""
    return tuple(-merit if descending else merit for merit in _merits(one))


def _one_of_each(ordered: Iterable[Costed]) -> list[Costed]:
    """The cheapest of those that differ in cores, L1, maps or statistics only."""
    seen: dict[Any, Costed] = {}
    for one in ordered:
        choice = one.choice
        key = (choice.network, choice.latent_layer, choice.replays, choice.bits)
        seen.setdefault(key, one)
    return list(seen.values())


def _excess(one: Costed, limits: Limits) -> float:
    """By which factor a choice misses the limit that it misses most."""
    factors = [1.0 if one.fits_chip else 2.0]
    if limits.memory_bytes is not None:
        factors.append(one.memory_bytes / limits.memory_bytes)
    if limits.event_seconds is not None:
        factors.append(one.seconds / limits.event_seconds)
    if limits.lifetime_hours is not None:
        pace = one.seconds * limits.events_per_hour / 3600
        factors.append(limits.lifetime_hours / one.lifetime_hours if pace <= 1 else 1e6 * pace)
    return max(factors)
