"""Sizes of the exported C program: where everything lies, and its settings as macros."""

import dataclasses
import itertools

import numpy as np

from qlrjax.export.c import text as c_text
from qlrjax.integer import latent_codes
from qlrjax.integer.frozen import Stage
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut
from qlrjax.training import replay
from qlrjax.training.replay import ReplayMemory


@dataclasses.dataclass(frozen=True)
class StepSettings:
    """Settings of the exported training step; see `protocol.Protocol` for most of them.

    Attributes:
        minibatch: Largest number of latents in a step; the static buffers are made for it.
        batch_statistics: False normalises by the running statistics and leaves them alone.
        train_layers: False trains the head only.
    """

    minibatch: int
    learning_rate: float
    momentum: float
    weight_decay: float
    renorm_momentum: float
    r_max: float
    d_max: float
    batch_statistics: bool = True
    train_layers: bool = True


@dataclasses.dataclass(frozen=True)
class Offsets:
    """Where everything of the adaptive stage lies, in floats."""

    parameters: dict[str, dict[str, int]]
    head: int
    total: int
    channels: dict[str, int]
    all_channels: int
    arena: dict[str, dict[str, int]]
    features: int
    arena_floats: int
    gradient_floats: int

    @classmethod
    def of(cls, cut: Cut, batch: int) -> "Offsets":
        """Lays out parameters, statistics and the arena of `batch` samples."""
        layers, latent = cut.normalised, cut.latent_shape
        parameters, channels, arena = {}, {}, {}
        at = channel = used = 0
        for layer in layers:
            c = layer.out_channels
            gamma = at + layer.weights
            parameters[layer.name] = {"weight": at, "gamma": gamma, "beta": gamma + c}
            channels[layer.name] = channel
            normal = used + batch * layer.in_elements
            arena[layer.name] = {"input": used, "normal": normal}
            at, channel, used = gamma + 2 * c, channel + c, normal + batch * layer.out_elements
        last = layers[-1].out_elements if layers else latent[0] * latent[1] * latent[2]
        largest = max([last, *(max(row.in_elements, row.out_elements) for row in layers)])
        head = cut.network.layers[-1].weights
        return cls(parameters, at, at + head, channels, channel, arena, used,
                   used + batch * last, batch * largest)  # fmt: skip


def net(
    cut: Cut,
    quantized: QuantizedStage,
    shapes: list[tuple[int, int, int]],
    memory: ReplayMemory,
    step: StepSettings,
    offsets: Offsets,
    replay_file: str | None,
) -> str:
    """Text of net.h: every size and setting as a macro.

    Args:
        cut: The network and where it is cut.
        quantized: Integer layers, and what the latents' codes mean.
        shapes: Output shape of each of them.
        memory: Replay memory.
        step: Settings of the training step.
        offsets: Layout of the adaptive stage.
        replay_file: Where the replays are, if they are not in a header.
    """
    network, stage = cut.network, quantized.stage
    height, width, channels = memory.shape
    elements = height * width * channels
    pixels = (height, width) if cut.is_pooled else network.pool_hw
    latent_step = np.float32(latent_codes.scale(quantized.latent_max, 8))
    replay_step = np.float32(latent_codes.scale(memory.latent_max, memory.bits))
    statistics = int(step.batch_statistics and step.train_layers)
    groups: dict[str, dict[str, object]] = {
        "The image, and the integer layers that turn it into a latent": {
            "IMAGE_H": network.in_hw[0], "IMAGE_W": network.in_hw[1], "IMAGE_C": 3,
            "FROZEN_LAYERS": len(stage),
            "FROZEN_BUFFER": max([1, *(int(np.prod(shape)) for shape in shapes)]),
        },
        "A latent: 8-bit codes from the frozen stage, and what one code is worth": {
            "LATENT_ELEMENTS": elements, "LATENT_C": channels, "LATENT_STEP": float(latent_step),
        },
        "The replay memory: packed codes of LATENT_BITS bits; REPLAYS slots are in use": {
            "LATENT_BITS": memory.bits, "LATENT_BYTES": replay.latent_bytes(elements, memory.bits),
            "REPLAY_STEP": float(replay_step), "REPLAY_SLOTS": memory.slots,
            "REPLAYS": int(memory.filled),
        },
        "The FP32 layers above the cut; sizes in floats": {
            "ADAPTIVE_LAYERS": len(offsets.channels), "ADAPTIVE_PARAMS": offsets.total,
            "ADAPTIVE_CHANNELS": offsets.all_channels, "HEAD_AT": offsets.head,
            "FEATURES": network.layers[-1].in_channels, "FEATURES_AT": offsets.features,
            "FEATURE_PIXELS": pixels[0] * pixels[1], "CLASSES": network.classes,
            "RELU_MAX": 6.0 if network.activation == "relu6" else "INFINITY",
            "BN_EPSILON": network.bn_epsilon,
        },
        "The training step": {
            "MINIBATCH": step.minibatch, "ARENA_FLOATS": offsets.arena_floats,
            "GRADIENT_FLOATS": offsets.gradient_floats, "LEARNING_RATE": step.learning_rate,
            "MOMENTUM": step.momentum, "WEIGHT_DECAY": step.weight_decay,
            "RENORM_MOMENTUM": step.renorm_momentum, "R_MAX": step.r_max, "D_MAX": step.d_max,
            "BATCH_STATISTICS": statistics, "TRAIN_LAYERS": int(step.train_layers),
        },
    }  # fmt: skip
    if cut.latent_layer == 0:
        groups["Pixels are normalised first"] = {
            name: "{" + ", ".join(f"{value:.8e}f" for value in row) + "}"
            for name, row in (("IMAGE_MEAN", network.pixel_mean), ("IMAGE_STD", network.pixel_std))
        }
    if replay_file:
        groups["Too large for a header"] = {"REPLAY_FILE": f'"{replay_file}"'}
    title = f"A MobileNet-V1 of width {network.width:g}, cut at layer {cut.latent_layer}."
    body = "\n".join(f"/* {name}. */\n{c_text.macros(group)}" for name, group in groups.items())
    return c_text.guarded("NET", title, body)


def sections(
    cut: Cut,
    stage: Stage,
    shapes: list[tuple[int, int, int]],
    memory: ReplayMemory,
    offsets: Offsets,
) -> dict[str, int]:
    """Bytes of every section of the program, see `c_sizes`."""
    activations = [int(np.prod(shape)) for shape in [cut.image_shape, *shapes]]
    pairs = [one + other for one, other in itertools.pairwise(activations)]
    return {
        "frozen weights (int8)": sum(layer.weight.size for layer in stage),
        "frozen kappa, lambda, padding": sum(
            8 * layer.kappa.size + layer.pad_value.size for layer in stage
        ),
        "frozen activations, in and out of one layer": max([activations[0], *pairs]),
        "replay memory (packed)": memory.bytes,
        "replay labels": 4 * memory.slots,
        "adaptive parameters and statistics (FP32)": 4 * (offsets.total + 2 * offsets.all_channels),
        "gradients and momentum (FP32)": 8 * offsets.total,
        "activations of one mini-batch (FP32)": 4 * offsets.arena_floats,
        "gradients of activations (FP32)": 8 * offsets.gradient_floats,
    }
