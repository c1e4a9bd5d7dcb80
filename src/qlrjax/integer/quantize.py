"""From float parameters and calibration images to an integer frozen stage.

Post-training quantization: symmetric int8 weights per output channel, unsigned 8-bit activations
with one scale a layer, S = a_max / 255, a_max being the largest calibration value. With the float
layer y = g * conv(w, x) + b (batch norm folded into g and b),

    kappa = g * S_in * S_w / S_out * 2**shift        lam = (b' / S_out + 1/2) * 2**shift

where b' also takes the input's offset, and 1/2 turns the contract's floor into rounding. `shift` is
the largest that lets every kappa and lam fit int32, so precision is the most the contract holds.

Rounding the weights shifts the mean of every channel, above all in depthwise layers, whose nine
taps average nothing out; b' takes that shift back, as measured on calibration images (empirical
bias correction, Nagel et al. 2019, arXiv 1906.04721). On MobileNet-V1 it is worth some 10 dB.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qlrjax.integer import contract, fixedpoint, frozen, latent_codes
from qlrjax.network import Cut, Layer, Network, floating
from qlrjax.network.floating import Parameters

_CALIBRATION_BATCH = 32
_CORRECTION_IMAGES = 64
_INT32_MAX = 2**31 - 1


@flax.struct.dataclass
class QuantizedStage:
    """An integer stage and what its output codes mean.

    Attributes:
        stage: Layers below the cut.
        ranges: a_max of every stage output in order; a code q of output i is q * ranges[i] / 255.
    """

    stage: frozen.Stage
    ranges: tuple[float, ...] = flax.struct.field(pytree_node=False)

    @property
    def latent_max(self) -> float:
        """Real value of the largest latent code; 255 (the pixel itself) for an empty stage."""
        return self.ranges[-1] if self.ranges else 255.0


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How close one integer layer stays to its float layer, over a set of images."""

    layer: str
    cosine: float
    snr_db: float


def calibrate(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w 3"]
) -> tuple[float, ...]:
    """a_max of every output of `floating.infer` over the images.

    Raises:
        ValueError: There are no images, their shape is not the network's, or the float network
            gives a value that is not finite.
    """
    if cut.latent_layer == 0:
        return ()
    _check_images(cut.network, images)
    largest = jax.jit(
        lambda weights, batch: jnp.stack([jnp.max(y) for y in floating.infer(cut, weights, batch)])
    )
    used = _used(cut, parameters)
    _check_finite(used)  # activations hide it: ReLU makes 0 of a NaN, and ReLU6 6 of infinity
    maxima = np.max([np.asarray(largest(used, batch)) for batch in _batches(images)], axis=0)
    if not np.isfinite(maxima).all():
        bad = int(np.argmin(np.isfinite(maxima)))
        raise ValueError(f"calibration: layer {bad} gives infinity; the float weights are damaged")
    # A dead output has no range; any positive one keeps its codes at 0.
    return tuple(float(value) if value > 0 else 1.0 for value in maxima)


def quantize(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w 3"]
) -> QuantizedStage:
    """Builds the integer stage of the layers below the cut.

    At the last latent layer the stage ends with the global average pooling, requantized to its own
    range: a mean is far smaller than the largest pixel, and would waste the codes' upper bits.

    Args:
        cut: The network and where it is cut.
        parameters: Float weights and batch norm by layer name, see `weights`.
        images: uint8 calibration images, usually the first learning event's.

    Raises:
        ValueError: See `calibrate`.
        contract.ContractViolation: An accumulator could overflow int32.
    """
    network, below = cut.network, cut.below
    ranges = calibrate(cut, parameters, images)
    effective = {row.name: _effective_weight(network, row, parameters) for row in below}
    shifts = _mean_shifts(network, parameters, effective, images, below)
    layers: list[frozen.IntegerLayer] = []
    for layer, output_max in zip(below, ranges, strict=False):
        input_max = ranges[layer.index - 1] if layer.index else None
        layers.append(
            _integer_layer(
                network,
                layer,
                parameters[layer.name],
                effective[layer.name],
                shifts[layer.name],
                input_max,
                output_max,
            )
        )
    if cut.is_pooled:
        layers.append(_integer_pool(network, ranges[-2], ranges[-1]))
    contract.check_stage(tuple(layers), in_shape=cut.image_shape)
    return QuantizedStage(tuple(layers), ranges)


def fidelity(
    cut: Cut,
    parameters: Parameters,
    quantized: QuantizedStage,
    images: UInt8[np.ndarray, "n h w 3"],
) -> list[Fidelity]:
    """Cosine similarity and signal-to-noise (dB) of every integer output against the float one."""
    _check_images(cut.network, images)

    @jax.jit
    def moments(
        weights: Parameters, stage: frozen.Stage, batch: UInt8[Array, "n h w 3"]
    ) -> Float32[Array, "layers 4"]:
        real = floating.infer(cut, weights, batch)
        codes = frozen.trace(stage, batch)
        rows = []
        for y, q, output_max in zip(real, codes, quantized.ranges, strict=True):
            approx = latent_codes.dequantize(q, output_max, 8)
            noise = jnp.sum((y - approx) ** 2)
            rows.append([jnp.sum(y * y), jnp.sum(approx**2), jnp.sum(y * approx), noise])
        return jnp.asarray(rows)

    used = _used(cut, parameters)
    totals = np.sum(
        [np.asarray(moments(used, quantized.stage, b), np.float64) for b in _batches(images)],
        axis=0,
    )
    names = [layer.name for layer in cut.below]
    if cut.is_pooled:
        names.append("pool")
    tiny = 1e-30
    return [
        Fidelity(
            layer=name,
            cosine=float(cross / np.sqrt(max(real * approx, tiny))),
            snr_db=float(10 * np.log10(max(real, tiny) / max(noise, tiny))),
        )
        for name, (real, approx, cross, noise) in zip(names, totals, strict=True)
    ]


def _integer_layer(
    network: Network,
    layer: Layer,
    parameters: Mapping[str, Array | np.ndarray],
    weight: np.ndarray,
    shift_of_mean: np.ndarray,
    input_max: float | None,
    output_max: float,
) -> frozen.IntegerLayer:
    arrays = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    codes, weight_scale = _quantize_weight(weight)
    gain = arrays["gamma"] / np.sqrt(arrays["variance"] + network.bn_epsilon)
    bias = arrays["beta"] - gain * (arrays["mean"] + shift_of_mean)
    if input_max is None:  # the image: codes of 0..255 whose mean is not 0
        pad, input_scale = np.round(network.pixel_mean), 1.0
        offset = np.tensordot(codes.sum(axis=(0, 1)), network.pixel_mean, axes=([0], [0]))
        bias = bias - gain * weight_scale * offset
    else:
        pad, input_scale = np.zeros(layer.in_channels), input_max / 255
    output_scale = output_max / 255
    multiplier = gain * input_scale * weight_scale / output_scale
    kappa, lam, shift = _fixed_point(
        multiplier, bias / output_scale + 0.5, *_accumulator_range(codes)
    )
    return frozen.IntegerLayer(
        weight=jnp.asarray(codes.astype(np.int8)),
        kappa=jnp.asarray(kappa),
        lam=jnp.asarray(lam),
        pad_value=jnp.asarray(pad.astype(np.uint8)),
        kind=layer.kind,
        stride=layer.stride,
        padding=layer.padding,
        shift=shift,
    )


def _integer_pool(network: Network, input_max: float, output_max: float) -> frozen.IntegerLayer:
    channels, pixels = network.layers[-1].in_channels, int(np.prod(network.pool_hw))
    multiplier = np.full(channels, input_max / output_max / pixels)
    kappa, lam, shift = _fixed_point(
        multiplier, np.full(channels, 0.5), np.zeros(channels), np.full(channels, 255.0 * pixels)
    )
    return frozen.IntegerLayer(
        weight=jnp.zeros((0,), jnp.int8),
        kappa=jnp.asarray(kappa),
        lam=jnp.asarray(lam),
        pad_value=jnp.zeros((channels,), jnp.uint8),
        kind="pool",
        shift=shift,
    )


def _effective_weight(network: Network, layer: Layer, parameters: Parameters) -> np.ndarray:
    """The weight that multiplies the layer's input codes, the pixels' deviation taken in."""
    weight = np.asarray(parameters[layer.name]["weight"], np.float64)
    return weight / np.asarray(network.pixel_std)[:, None] if layer.index == 0 else weight


def _mean_shifts(
    network: Network,
    parameters: Parameters,
    effective: Mapping[str, np.ndarray],
    images: UInt8[np.ndarray, "n h w 3"],
    below: tuple[Layer, ...],
) -> dict[str, np.ndarray]:
    """How far rounding the weights moves every layer's mean output, layer by layer from the image.

    Each layer is measured on inputs whose own shift is already taken back.
    """

    @jax.jit
    def measure(
        weights: Parameters, rounded: Mapping[str, Array], batch: UInt8[Array, "n h w 3"]
    ) -> dict[str, Array]:
        exact = approx = floating.normalise(batch, network)
        shifts = {}
        for layer in below:
            y = floating.linear_part(layer, jnp.asarray(weights[layer.name]["weight"]), exact)
            y_rounded = floating.linear_part(layer, rounded[layer.name], approx)
            shift = jnp.mean(y_rounded - y, axis=(0, 1, 2))
            moved = dict(weights[layer.name], mean=weights[layer.name]["mean"] + shift)
            exact = floating.finish_layer(network, weights[layer.name], y)
            approx = floating.finish_layer(network, moved, y_rounded)
            shifts[layer.name] = shift
        return shifts

    if not below:
        return {}
    rounded = {}
    for layer in below:
        codes, scale = _quantize_weight(effective[layer.name])
        scale = scale * np.asarray(network.pixel_std)[:, None] if layer.index == 0 else scale
        rounded[layer.name] = (codes * scale).astype(np.float32)
    weights = {
        name: {key: np.asarray(value, np.float32) for key, value in parameters[name].items()}
        for name in effective
    }
    spread = np.linspace(0, len(images) - 1, min(_CORRECTION_IMAGES, len(images)))
    measured = measure(weights, rounded, images[spread.round().astype(int)])
    return {name: np.asarray(shift, np.float64) for name, shift in measured.items()}


def _quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes in -127..127 and their scale per output channel (the last axis)."""
    largest = np.abs(weight).reshape(-1, weight.shape[-1]).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0) / 127
    return np.round(weight / scale), scale


def _accumulator_range(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = codes.reshape(-1, codes.shape[-1])
    return 255 * np.minimum(rows, 0).sum(axis=0), 255 * np.maximum(rows, 0).sum(axis=0)


def _fixed_point(
    multiplier: np.ndarray, addend: np.ndarray, acc_low: np.ndarray, acc_high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """kappa, lam and the largest shift for which both fit; y = floor(multiplier * acc + addend)."""
    ends = np.stack([multiplier * acc_low, multiplier * acc_high]) + addend
    # Channels that are 0 or 255 whatever comes in would only cost the others precision.
    always_zero, always_full = ends.max(axis=0) < 0, ends.min(axis=0) > 256
    constant = always_zero | always_full
    multiplier = np.where(constant, 0.0, multiplier)
    addend = np.where(always_zero, 0.0, np.where(always_full, 255.0, addend))
    largest = max(float(np.abs(multiplier).max()), float(np.abs(addend).max()), 1e-30)
    shift = int(np.clip(np.floor(np.log2(_INT32_MAX / largest)), 0, fixedpoint.SHIFT_MAX))
    kappa = np.round(multiplier * 2.0**shift)
    lam = np.round(addend * 2.0**shift)
    if max(np.abs(kappa).max(), np.abs(lam).max()) > _INT32_MAX:
        raise contract.ContractViolation(
            "a layer's multiplier does not fit int32 at any shift; its batch-norm variance is "
            "damaged or its calibration range is zero"
        )
    return kappa.astype(np.int32), lam.astype(np.int32), shift


def _used(cut: Cut, parameters: Parameters) -> Parameters:
    return {layer.name: parameters[layer.name] for layer in cut.below}


def _check_finite(parameters: Parameters) -> None:
    for layer, tensors in parameters.items():
        for name, values in tensors.items():
            if not np.isfinite(np.asarray(values)).all():
                raise ValueError(
                    f"calibration: {name} of layer {layer} holds NaN or infinity; "
                    "the float weights are damaged"
                )


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    """Fixed-shape batches: the last one starts earlier, since a maximum may see images twice."""
    size = min(_CALIBRATION_BATCH, len(images))
    starts: Sequence[int] = range(0, len(images) - size + 1, size)
    yield from (images[start : start + size] for start in starts)
    if len(images) % size:
        yield images[-size:]


def _check_images(network: Network, images: np.ndarray) -> None:
    expected = (*network.in_hw, 3)
    if len(images) == 0 or images.shape[1:] != expected or images.dtype != np.uint8:
        raise ValueError(
            f"images are {images.dtype}{list(images.shape)}; the network takes at least one "
            f"uint8 image of shape {list(expected)}"
        )
