"""Where every buffer of the firmware lies, and what is kept or computed again so that it fits.

With a mini-batch's own statistics every normalised layer needs the whole mini-batch twice, so the
firmware walks it in slices, one pass a layer each way (`qlr_step.c`). What a pass needs of other
layers is kept for the whole mini-batch, or computed again from the last kept outputs below. The
planner takes the cheapest choice, in multiply-accumulates, that fits the target's memories.
"""

import dataclasses
import itertools
from collections.abc import Iterator

from qlrjax.export.firmware import graph, passes
from qlrjax.export.firmware.shape import Shape
from qlrjax.export.firmware.target import Memory, Target

_SLICES = (8, 4, 2, 1)
# Struct members behind one another lose at most this to alignment.
_SLACK_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is kept.

    Attributes:
        slice: Samples of a walk at a time.
        kept: One for every trained layer: its outputs of the whole mini-batch stay.
        keeps_gradient: Gradients of outputs stay from one pass to the next.
        keeps_features: A late class's features stay instead of being computed in all 300 steps.
    """

    slice: int
    kept: tuple[bool, ...]
    keeps_gradient: bool
    keeps_features: bool


@dataclasses.dataclass(frozen=True)
class Buffer:
    """One thing that takes room.

    Attributes:
        name: For people.
        kind: "tables" or "state".
        bytes: Its size.
        symbol: The C object it belongs to.
    """

    name: str
    kind: str
    bytes: int
    symbol: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A choice, its buffers and their places.

    Attributes:
        choice: See `Choice`.
        buffers: All of them.
        places: Memory of every symbol.
        arena: Bytes of the arena's users, which take turns.
        macs: Multiply-accumulates of one mini-batch as planned.
        least_macs: The same if everything could be kept.
        target: The device.
    """

    choice: Choice
    buffers: tuple[Buffer, ...]
    places: dict[str, Memory]
    arena: dict[str, int]
    macs: int
    least_macs: int
    target: Target

    def used(self, memory: Memory) -> int:
        """Bytes of buffers in a memory."""
        return sum(one.bytes for one in self.buffers if self.places[one.symbol] == memory)


def plan(shape: Shape, target: Target) -> Plan:
    """The cheapest plan that fits.

    Raises:
        ValueError: Nothing fits; the sentence names the largest buffer and what would fit.
    """
    found = _first_fit(shape, target)
    if found is None:
        raise ValueError(_refusal(shape, target))
    return found


def buffers_of(shape: Shape, choice: Choice) -> tuple[Buffer, ...]:
    """Every buffer under a choice; sizes are those of qlr_state.h on a 32-bit machine."""
    arena = max(arena_of(shape, choice).values())
    rows = [
        Buffer("frozen weights, kappa and lambda", "tables", shape.frozen_bytes, "tables"),
        Buffer(
            "first values of the trained layers (FP32)",
            "tables",
            4 * (shape.parameters + 2 * shape.channels),
            "first_layers",
        ),
        Buffer("first head, momentum and replays", "tables", shape.first_bytes, "tables"),
        Buffer(
            "trained layers and statistics (FP32)",
            "state",
            4 * (shape.parameters + 2 * shape.channels),
            "qlr_state",
        ),
        Buffer("momentum of the layers (FP32)", "state", 4 * shape.parameters, "qlr_state"),
        Buffer(
            "head, its momentum and center (FP32)",
            "state",
            8 * shape.head + 4 * (shape.centers + shape.classes),
            "qlr_state",
        ),
        Buffer("replay labels", "state", 2 * shape.slots + 16, "qlr_state"),
        Buffer(
            "replay memory (packed)", "state", shape.slots * shape.replay_bytes + 1, "qlr_replays"
        ),
        Buffer(
            "event buffer (8-bit latents and labels)",
            "state",
            shape.event_max * (shape.latent + 2) + 4,
            "qlr_event",
        ),
        Buffer("latent of one image", "state", shape.latent, "qlr_latent"),
        Buffer("arena: frozen stage, learning and late class in turn", "state", arena, "qlr_arena"),
    ]
    return tuple(rows)


def walk_floats(shape: Shape, choice: Choice) -> dict[str, int]:
    """Elements of the arrays of qlr_walk, as the macros of qlr_config.h give them."""
    samples, layers = choice.slice, shape.layers
    outputs = sum(
        (shape.minibatch if kept else samples) * layer.out_elements
        for layer, kept in zip(layers, choice.kept, strict=True)
    )
    inputs = max([shape.latent, *(layer.out_elements for layer in layers)])
    stride = graph.kept_elements(layers)
    patches = [layer.out_hw[1] * layer.fan_in for layer in layers if layer.kind == "conv"]
    return {
        "output": max(outputs, 1),
        "input": samples * inputs,
        "gradient": max(samples * graph.gradients(layers).bytes, 1),
        "kept_gradient": shape.minibatch * stride if choice.keeps_gradient else 1,
        "kept_stride": stride,
        "patch": max([1, *patches]),
        "late_features": (shape.event_max + shape.slots) * shape.features
        if choice.keeps_features
        else 1,
    }


def arena_of(shape: Shape, choice: Choice) -> dict[str, int]:
    """Bytes of each user of the arena."""
    floats = walk_floats(shape, choice)
    walk = (
        floats["output"]
        + floats["input"]
        + floats["gradient"]
        + floats["kept_gradient"]
        + floats["patch"]
        + choice.slice * (shape.features + shape.classes)
    )
    norms = 6 * (shape.channels + 1)
    head = shape.head if shape.consolidates else 1
    draws = 2 * shape.event_max + shape.event_max + 2 * (shape.slots + 1)
    shift = shape.centers + 1
    learn = 4 * (walk + norms + head + shift) + draws + 2 * shape.minibatch + 4 * shape.classes
    late = (
        4
        * (
            walk
            + norms
            + 3 * shape.features
            + shape.event_max
            + shape.slots
            + floats["late_features"]
        )
        + draws
    )
    frozen = shape.frozen_cells + 2 * shape.patch_bytes + 1
    return {
        "frozen stage": frozen,
        "learning": learn + _SLACK_BYTES,
        "late class": late + _SLACK_BYTES,
    }


def step_macs(shape: Shape, choice: Choice) -> int:
    """Multiply-accumulates of one mini-batch, recomputation included."""
    return passes.step_macs(shape, choice.kept, choice.keeps_gradient)


def _first_fit(shape: Shape, target: Target) -> Plan | None:
    everything = Choice(_SLICES[0], (True,) * len(shape.layers), True, True)
    least = step_macs(shape, everything)
    ranked = sorted(
        _choices(shape), key=lambda one: (step_macs(shape, one), -one.slice, not one.keeps_features)
    )
    for choice in ranked:
        buffers = buffers_of(shape, choice)
        places = _place(buffers, target)
        if places is not None:
            arena = arena_of(shape, choice)
            return Plan(choice, buffers, places, arena, step_macs(shape, choice), least, target)
    return None


def _choices(shape: Shape) -> Iterator[Choice]:
    count = len(shape.layers)
    if shape.own_statistics:
        kept = {tuple(at >= first for at in range(count)) for first in range(count + 1)}
        kept |= {tuple(at < end for at in range(count)) for end in range(count + 1)}
        gradients = (True, False)
    else:
        kept, gradients = {(False,) * count}, (False,)
    yield from (
        Choice(samples, rows, gradient, features)
        for samples, rows, gradient, features in itertools.product(
            _SLICES, sorted(kept), gradients, (True, False)
        )
    )


def _place(buffers: tuple[Buffer, ...], target: Target) -> dict[str, Memory] | None:
    """Symbols into memories: all ways, since there are few, and the first that fits."""
    sizes: dict[str, int] = {}
    kinds = {one.symbol: one.kind for one in buffers}
    for one in buffers:
        sizes[one.symbol] = sizes.get(one.symbol, 0) + one.bytes
    symbols = sorted(sizes, key=lambda name: -sizes[name])
    options = [[m for m in target.memories if kinds[name] in m.holds] for name in symbols]
    free = {memory.name: memory.bytes - target.reserved(memory) for memory in target.memories}
    for places in itertools.product(*options):
        room = dict(free)
        for name, memory in zip(symbols, places, strict=True):
            room[memory.name] -= sizes[name]
        if min(room.values()) >= 0:
            return dict(zip(symbols, places, strict=True))
    return None


def _refusal(shape: Shape, target: Target) -> str:
    """What is too large, and the nearest settings that fit."""
    least = min(_choices(shape), key=lambda one: sum(b.bytes for b in buffers_of(shape, one)))
    buffers = buffers_of(shape, least)
    largest = max(buffers, key=lambda one: one.bytes)
    need = {
        kind: sum(one.bytes for one in buffers if one.kind == kind) for kind in ("tables", "state")
    }
    room = ", ".join(f"{memory.name} {memory.bytes:,} bytes" for memory in target.memories)
    fits = _what_fits(shape, target)
    return (
        f"this session does not fit {target.name} ({room}): it needs {need['state']:,} bytes "
        f"of RAM and {need['tables']:,} of tables; the largest buffer is the {largest.name}, "
        f"{largest.bytes:,} bytes; {fits}"
    )


def _what_fits(shape: Shape, target: Target) -> str:
    for event_max in (shape.event_max // 2, shape.event_max // 4, 8, 1):
        smaller = dataclasses.replace(shape, event_max=max(event_max, 1))
        if event_max and _first_fit(smaller, target):
            return f"--event-images {event_max} would fit"
    slots = shape.slots
    while slots > 1:
        slots //= 2
        smaller = dataclasses.replace(shape, slots=slots, event_max=min(shape.event_max, 16))
        if _first_fit(smaller, target):
            return f"a run of --replays {slots} with --event-images {smaller.event_max} would fit"
    if shape.layers:
        return "a later latent layer, a narrower network or fewer pixels may fit"
    return "a narrower network, fewer pixels or fewer classes may fit"
