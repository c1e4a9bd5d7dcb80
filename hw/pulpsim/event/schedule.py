"""Every pass of a learning event, in order, with how often it runs."""

import dataclasses
import itertools

from pulpsim.event import frozen_layers, layers, memory
from pulpsim.event.blocked import Blockwise
from pulpsim.event.layers import AnyPass, Pass, Places, StepName
from pulpsim.event.memory import MemoryPlan
from pulpsim.event.setting import EventSetting
from qlrjax.network import Layer


@dataclasses.dataclass(frozen=True)
class Scheduled:
    """One pass.

    Attributes:
        layer: Index of the layer, or -1.
        name: Name of the layer, or what the pass is about.
        step: Which part of the event it belongs to.
        work: The pass.
        count: Runs of it in an event.
    """

    layer: int
    name: str
    step: StepName
    work: AnyPass
    count: int | float


def blocked(setting: EventSetting, steps: list[Blockwise]) -> list[Scheduled]:
    """Passes of all mini-batches that take these steps, and replay writes."""
    trained = [
        Scheduled(one.layer, one.name, one.step, one.work, setting.iterations) for one in steps
    ]
    return [*trained, *_admission(setting)]


def frozen(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """Integer forward of the new images, and storing their latents."""
    network, images = setting.network, setting.images_per_pass
    maps, weights = plan.place("frozen maps"), plan.place("frozen weights")
    count = setting.images / images
    rows = [
        Scheduled(
            row.index,
            row.name,
            "frozen",
            frozen_layers.frozen(row, images, maps, weights),
            count,
        )
        for row in network.frozen(setting.latent_layer)
    ]
    if setting.latent_layer == network.last:
        before = network.layers[-2]
        work = frozen_layers.frozen_pool(before.out_channels, network.pool_hw, images, maps)
        rows.append(Scheduled(network.last, "pool", "frozen", work, count))
    stored = layers.latent_write(setting.latent_elements, setting.bits, maps)
    rows.append(Scheduled(-1, "latents", "latent write", stored, setting.images))
    return rows


def training(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """Replay reads, forward, both gradients and updates of all mini-batches; replay writes."""
    rows = training_pass(setting, plan)
    passes = setting.iterations * setting.groups_per_minibatch
    found = [dataclasses.replace(row, count=row.count * passes) for row in rows]
    places = plan.place
    accumulate = setting.groups_per_minibatch > 1
    step = layers.update(
        memory.trained_parameters(setting),
        places("trained weights"),
        places("gradients"),
        places("momentum"),
        accumulate,
    )
    found.append(Scheduled(-1, "parameters", "update", step, setting.iterations))
    return [*found, *_admission(setting)]


def _admission(setting: EventSetting) -> list[Scheduled]:
    """New latents into the replay memory."""
    if not setting.admitted:
        return []
    copied = layers.replay_write(setting.admitted * setting.latent_bytes)
    return [Scheduled(-1, "replays", "replay write", copied, 1)]


def training_pass(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """One group of samples through the trained layers, there and back."""
    places = Places(
        plan.place("activations"),
        plan.place("gradient maps"),
        plan.place("trained weights"),
        plan.place("gradients"),
        "e10_relu6" if setting.network.activation == "relu6" else "e3_fwd",
    )
    elements = setting.latent_elements * setting.group
    read = layers.replay_read(elements, setting.bits, places.activations)
    replays = Scheduled(-1, "replays", "replay read", read, 1)
    return [replays, *_there(setting, places), *_back(setting, places)]


def _once(row: Layer, step: StepName, work: Pass) -> Scheduled:
    return Scheduled(row.index, row.name, step, work, 1)


def _pooling(setting: EventSetting, places: Places, *, back: bool) -> list[Scheduled]:
    """The average pooling, which is trained through where layers below the last are."""
    trained, network = setting.network.adaptive(setting.latent_layer), setting.network
    if len(trained) == 1:
        return []
    channels = trained[-1].in_channels
    work = layers.pool(channels, network.pool_hw, setting.group, places, back=back)
    return [Scheduled(trained[-1].index, "pool", "pool", work, 1)]


def _there(setting: EventSetting, places: Places) -> list[Scheduled]:
    """Forward, up to the loss."""
    group, statistics = setting.group, setting.statistics
    trained = setting.network.adaptive(setting.latent_layer)
    last, found = trained[-1], []
    for row, following in itertools.pairwise(trained):
        padded = following.kind == "depthwise"
        work = layers.forward(row, group, statistics, places, padded=padded)
        found.append(_once(row, "forward", work))
        if statistics == "minibatch":
            second = layers.normalise(row, group, places, padded=padded)
            found.append(_once(row, "normalise", second))
    found += _pooling(setting, places, back=False)
    work = layers.forward(last, group, statistics, places, padded=False)
    loss = layers.loss(last.out_channels, group)
    return [*found, _once(last, "forward", work), _once(last, "loss", loss)]


def _back(setting: EventSetting, places: Places) -> list[Scheduled]:
    """Gradients of weights and inputs, from the last layer down."""
    group, statistics = setting.group, setting.statistics
    *lower, last = setting.network.adaptive(setting.latent_layer)
    # Gradients accumulate over samples; a whole mini-batch in one product does not need to.
    accumulate = setting.groups_per_minibatch > 1

    def weights(row: Layer) -> Scheduled:
        work = layers.weight_gradient(row, group, accumulate, places)
        return _once(row, "weight gradient", work)

    def inputs(row: Layer) -> Scheduled:
        return _once(row, "input gradient", layers.input_gradient(row, group, places))

    found = [weights(last)]
    if lower:
        found.append(inputs(last))
    found += _pooling(setting, places, back=True)
    for row in reversed(lower):
        for step, work in layers.norm_backward(row, group, statistics, places):
            found.append(_once(row, step, work))
        found.append(weights(row))
        if row.index > setting.latent_layer:
            found.append(inputs(row))
    return found
