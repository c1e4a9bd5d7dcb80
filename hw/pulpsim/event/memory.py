"""What lives where: a table of bytes per memory, and whether it fits.

Frozen weights are integers in the non-volatile memory; replays and the event's latents are packed
codes in the off-chip RAM. Under the blocked schedule all tensors of training lie off chip and pass
through in blocks. Layer by sample, what training touches goes to L2 in a fixed order of preference
(gradient maps, activations, weights, gradients, momentum) as long as it fits, and to the off-chip
RAM after that. A chip without L2 keeps all of it off chip, beside the tiles in its SRAM.
"""

import dataclasses
from collections.abc import Sequence

from pulpsim.cost.machine import l2_free_bytes
from pulpsim.cost.platform import Platform
from pulpsim.cost.tiling import Place
from pulpsim.event import lifetimes
from pulpsim.event.blocked import VECTOR_WORDS, Blockwise
from pulpsim.event.lifetimes import Lifetime
from pulpsim.event.setting import EventSetting
from qlrjax.network import Layer


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One row of the table; `reused` bytes are taken over by others when training starts."""

    name: str
    place: Place
    size_bytes: int
    reused: bool = False


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """Where every tensor of an event lives.

    Attributes:
        tensors: The table.
        l2_left_bytes: Of L2, for staging outside operands.
        external_bytes: Capacity of the off-chip RAM.
        storage_bytes: Capacity of the non-volatile memory.
        lifetimes: Of the blocked schedule's maps, pass by pass.
    """

    tensors: tuple[Tensor, ...]
    l2_left_bytes: int
    external_bytes: int
    storage_bytes: int
    lifetimes: tuple[Lifetime, ...] = ()

    def place(self, name: str) -> Place:
        """Where a tensor lives."""
        return next(tensor.place for tensor in self.tensors if tensor.name == name)

    def used_bytes(self, place: Place) -> int:
        """Bytes in one memory."""
        kept = [row for row in self.tensors if row.place == place and not row.reused]
        return sum(row.size_bytes for row in kept)

    @property
    def learning_bytes(self) -> int:
        """All memory of continual learning, on and off chip, frozen weights included."""
        return sum(row.size_bytes for row in self.tensors if not row.reused)

    @property
    def fits(self) -> bool:
        """Whether nothing overflows."""
        return (
            self.used_bytes("external") <= self.external_bytes
            and self.used_bytes("storage") <= self.storage_bytes
        )


def activation_elements(setting: EventSetting) -> int:
    """Inputs of all trained layers, kept for the weight gradients of one sample."""
    layers = setting.network.adaptive(setting.latent_layer)
    pooled = layers[-1].in_elements
    before_pool = layers[-2].out_elements if len(layers) > 1 else 0
    return sum(layer.in_elements for layer in layers[:-1]) + pooled + before_pool


def activation_bytes(setting: EventSetting) -> int:
    """Of one sample: FP32 inputs, byte masks; normalised maps if the mini-batch normalises."""
    normalised = sum(
        layer.out_elements for layer in setting.network.adaptive(setting.latent_layer)[:-1]
    )
    per_element = 1 + (4 if setting.statistics == "minibatch" else 0)
    return 4 * activation_elements(setting) + per_element * normalised


def trained_parameters(setting: EventSetting) -> int:
    """Weights, and two parameters per normalised channel, of the trained layers."""
    layers = setting.network.adaptive(setting.latent_layer)
    return sum(layer.weights for layer in layers) + 2 * sum(
        layer.out_channels for layer in layers[:-1] if layer.has_weights
    )


def plan(setting: EventSetting, platform: Platform) -> MemoryPlan:
    """Places every tensor of an event of the layer-by-sample schedule."""
    layers = setting.network.adaptive(setting.latent_layer)
    free = l2_free_bytes(platform)
    maps = 2 * 4 * max((max(row.in_elements, row.out_elements) for row in layers), default=0)
    if setting.latent_layer == setting.network.last:
        maps = 8 * setting.network.classes
    parameters = 4 * trained_parameters(setting)
    wanted = [
        ("gradient maps", maps * setting.group),
        ("activations", activation_bytes(setting) * setting.group),
        ("trained weights", parameters),
        ("gradients", parameters),
        ("momentum", parameters),
    ]
    tensors = []
    for name, size in wanted:
        inside = size <= free
        tensors.append(Tensor(name, "l2" if inside else "external", size))
        free -= size if inside else 0
    return _whole(setting, platform, tensors, free)


def blocked_plan(
    setting: EventSetting, platform: Platform, steps: Sequence[Blockwise]
) -> MemoryPlan:
    """Places every tensor of an event of the blocked schedule: all off chip but the blocks.

    Maps share memory: each has a range of passes in which it lives, and takes the lowest address
    that no other takes in that time.
    """
    layers = setting.network.adaptive(setting.latent_layer)
    vectors = (
        4 * VECTOR_WORDS // 2 * sum(row.out_channels for row in layers[:-1] if row.has_weights)
    )
    weights = 4 * sum(row.weights for row in layers)
    lives = lifetimes.of(setting, steps)
    tensors = [
        Tensor("maps, most at once", "external", lifetimes.highest_bytes(lives)),
        Tensor("trained weights", "external", weights),
        Tensor("momentum", "external", weights if setting.train_layers else 4 * layers[-1].weights),
        Tensor("vectors of channels", "external", vectors),
    ]
    return _whole(setting, platform, tensors, 0, tuple(lives))


def _whole(
    setting: EventSetting,
    platform: Platform,
    tensors: list[Tensor],
    left: int,
    lives: tuple[Lifetime, ...] = (),
) -> MemoryPlan:
    """Adds what both schedules have: frozen maps and weights, replays, new latents."""
    frozen = setting.network.frozen(setting.latent_layer)
    # The frozen maps come first in time and leave L2 before training starts.
    frozen_maps = setting.images_per_pass * most_live(frozen)
    frozen_place: Place = "l2" if frozen_maps <= l2_free_bytes(platform) else "external"
    packed = setting.latent_bytes
    weights = sum(_stored_bytes(row) for row in frozen)
    return MemoryPlan(
        (
            *tensors,
            Tensor("frozen maps", frozen_place, frozen_maps, reused=True),
            Tensor("replays", "external", setting.replays * packed),
            Tensor("new latents", "external", setting.images * packed),
            Tensor("frozen weights", "storage", weights),
        ),
        left,
        platform.external.external_bytes,
        platform.storage.storage_bytes,
        lives,
    )


def most_live(layers: Sequence[Layer]) -> int:
    """Most elements that stand at once while these layers run: outputs that are still taken."""
    last_use = {name: row.index for row in layers for name in row.inputs}
    sizes = {row.name: row.out_elements for row in layers}
    most = 0
    for row in layers:
        before = {
            name: sizes.get(name, taker.in_elements)
            for taker in layers
            for name in taker.inputs
            if last_use[name] >= row.index and (name not in sizes or _made(layers, name, row))
        }
        most = max(most, sum(before.values()) + row.out_elements)
    return most


def _made(layers: Sequence[Layer], name: str, before: Layer) -> bool:
    return any(row.name == name and row.index < before.index for row in layers)


def _stored_bytes(layer: Layer) -> int:
    """Integer weights and multipliers of a frozen layer: two of an add, none of a maximum."""
    each = {"add": 12, "max_pool": 0}.get(layer.kind, 8)
    return layer.weights + each * layer.out_channels
