"""Every pass of a learning event, in order, with how often it runs."""

import dataclasses

from pulpsim.event import layers, memory
from pulpsim.event.layers import Pass, Places, StepName
from pulpsim.event.memory import MemoryPlan
from pulpsim.event.setting import EventSetting


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
    work: Pass
    count: int | float


def event(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """All passes of an event."""
    return [*frozen(setting, plan), *training(setting, plan)]


def frozen(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """Integer forward of the new images, and storing their latents."""
    network, images = setting.network, setting.images_per_pass
    maps, weights = plan.place("frozen maps"), plan.place("frozen weights")
    count = setting.images / images
    rows = [
        Scheduled(row.index, row.name, "frozen", layers.frozen(row, images, maps, weights), count)
        for row in network.frozen(setting.latent_layer)
    ]
    if setting.latent_layer == network.last:
        before = network.layers[-2]
        work = layers.frozen_pool(before.out_channels, network.pool_hw, images, maps)
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
        memory.trained_parameters(setting), places("trained weights"), places("gradients"),
        places("momentum"), accumulate,
    )  # fmt: skip
    found.append(Scheduled(-1, "parameters", "update", step, setting.iterations))
    if setting.admitted:
        copied = layers.replay_write(setting.admitted * setting.latent_bytes)
        found.append(Scheduled(-1, "replays", "replay write", copied, 1))
    return found


def training_pass(setting: EventSetting, plan: MemoryPlan) -> list[Scheduled]:
    """One group of samples through the trained layers, there and back."""
    network, group = setting.network, setting.group
    trained = network.adaptive(setting.latent_layer)
    places = Places(
        plan.place("activations"), plan.place("gradient maps"),
        plan.place("trained weights"), plan.place("gradients"),
        "e10_relu6" if network.activation == "relu6" else "e3_fwd",
    )  # fmt: skip
    statistics = setting.statistics
    read = layers.replay_read(setting.latent_elements * group, setting.bits, places.activations)
    found = [Scheduled(-1, "replays", "replay read", read, 1)]

    def add(index: int, name: str, step: StepName, work: Pass) -> None:
        found.append(Scheduled(index, name, step, work, 1))

    following = {row.index: trained[i + 1] for i, row in enumerate(trained[:-1])}
    for row in trained[:-1]:
        padded = following[row.index].kind == "depthwise"
        add(row.index, row.name, "forward",
            layers.forward(row, group, statistics, places, padded=padded))  # fmt: skip
        if statistics == "minibatch":
            add(row.index, row.name, "normalise",
                layers.normalise(row, group, places, padded=padded))  # fmt: skip
    last = trained[-1]
    channels, hw = last.in_channels, network.pool_hw
    pooled = len(trained) > 1
    if pooled:
        add(last.index, "pool", "pool", layers.pool(channels, hw, group, places, back=False))
    add(last.index, last.name, "forward",
        layers.forward(last, group, statistics, places, padded=False))  # fmt: skip
    add(last.index, last.name, "loss", layers.loss(last.out_channels, group))
    # Gradients accumulate over samples; a whole mini-batch in one product does not need to.
    accumulate = setting.groups_per_minibatch > 1
    add(last.index, last.name, "weight gradient",
        layers.weight_gradient(last, group, accumulate, places))  # fmt: skip
    if pooled:
        add(last.index, last.name, "input gradient", layers.input_gradient(last, group, places))
        add(last.index, "pool", "pool", layers.pool(channels, hw, group, places, back=True))
    for row in reversed(trained[:-1]):
        for step, work in layers.norm_backward(row, group, statistics, places):
            add(row.index, row.name, step, work)
        add(row.index, row.name, "weight gradient",
            layers.weight_gradient(row, group, accumulate, places))  # fmt: skip
        if row.index > setting.latent_layer:
            add(row.index, row.name, "input gradient",
                layers.input_gradient(row, group, places))  # fmt: skip
    return found
