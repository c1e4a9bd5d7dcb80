"""From float parameters and calibration images to an integer frozen stage.

Post-training quantization: symmetric int8 weights per output channel, unsigned 8-bit activations
with one scale S a layer, and a code z of zero that is above 0 only where values can be negative
(see `contract`). With the float layer y = g * conv(w, x) + b (batch norm folded into g and b),

    kappa = g * S_in * S_w / S_out * 2**shift        lam = (b' / S_out + z_out + 1/2) * 2**shift

where b' also takes the input's offset, and 1/2 turns the contract's floor into rounding. An add has
kappa = S_a / S_out and kappa_b = S_b / S_out. `shift` is the largest that lets every kappa and lam
fit int32, so precision is the most the contract holds. b' also takes back what rounding the weights
does to every channel's mean, see `calibrate`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from qlrjax.integer import calibrate, contract, fixedpoint, frozen
from qlrjax.network import IMAGES, Cut, Layer, Network
from qlrjax.network.floating import Parameters

_INT32_MAX = 2**31 - 1


@flax.struct.dataclass
class QuantizedStage:
    """An integer stage and what its output codes mean.

    Attributes:
        stage: Layers below the cut.
        ranges: Span of every stage output in order, from code 0 to code 255: a_max after a ReLU. A
            code q of output i is (q - zero_codes[i]) * ranges[i] / 255.
        zeros: Code of zero of every output; empty where all are 0.
    """

    stage: frozen.Stage
    ranges: tuple[float, ...] = flax.struct.field(pytree_node=False)
    zeros: tuple[int, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def zero_codes(self) -> tuple[int, ...]:
        """Code of zero of every output."""
        return self.zeros or (0,) * len(self.ranges)

    @property
    def latent_max(self) -> float:
        """Span of the latent codes, a_max after a ReLU; 255 (the pixel itself) without a stage."""
        return self.ranges[-1] if self.ranges else 255.0

    @property
    def latent_min(self) -> float:
        """Real value of latent code 0; below 0 only where latents can be negative."""
        return -self.ranges[-1] * self.zeros[-1] / 255 if self.zeros else 0.0


def ranges(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w c"]
) -> QuantizedStage:
    """What 8-bit codes of every output below the cut mean, without a stage.

    Raises:
        ValueError: See `calibrate.extremes`.
    """
    low, high = calibrate.extremes(cut, parameters, images)
    index = {layer.name: layer.index for layer in cut.below}
    spans, zeros = [], []
    for at, (bottom, top) in enumerate(zip(low, high, strict=True)):
        layer = cut.below[at] if at < len(cut.below) else None
        if layer and layer.kind == "max_pool" and layer.activation == "none":
            source = index[layer.inputs[0]]  # a maximum of codes keeps what codes mean
            spans.append(spans[source])
            zeros.append(zeros[source])
            continue
        # A dead output has no range; any positive one keeps its codes at 0.
        span = top - bottom or 1.0
        spans.append(span)
        zeros.append(round(-bottom / span * 255))
    return QuantizedStage((), tuple(spans), tuple(zeros) if any(zeros) else ())


def quantize(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w c"]
) -> QuantizedStage:
    """Builds the integer stage of the layers below the cut.

    At the last latent layer the stage ends with the global average pooling, requantized to its own
    range: a mean is far smaller than the largest pixel, and would waste the codes' upper bits.

    Args:
        cut: The network and where it is cut.
        parameters: Float weights and batch norm by layer name, see `weights`.
        images: uint8 calibration images, usually the first learning event's.

    Raises:
        ValueError: See `calibrate.extremes`; or a layer without weights works on the image itself.
        contract.ContractViolation: An accumulator could overflow int32.
    """
    found = ranges(cut, parameters, images)
    codes, rounded = {}, {}
    for layer in cut.below:
        if layer.has_weights:
            weight = _effective_weight(cut.network, layer, parameters)
            codes[layer.name] = _quantize_weight(weight)
            rounded[layer.name] = _rounded(cut.network, layer, *codes[layer.name])
    shifts = calibrate.mean_shifts(cut, parameters, rounded, images)
    meanings = [_Meaning(*pair) for pair in zip(found.ranges, found.zero_codes, strict=True)]
    index = {layer.name: layer.index for layer in cut.below} | {IMAGES: frozen.IMAGE}
    layers: list[frozen.IntegerLayer] = []
    for layer, out in zip(cut.below, meanings, strict=False):
        inputs = tuple(index[source] for source in layer.inputs)
        taken = [meanings[at] for at in inputs if at != frozen.IMAGE]
        if layer.has_weights:
            gain, bias = _affine(cut.network, layer, parameters[layer.name], shifts[layer.name])
            built = _product(cut.network, layer, codes[layer.name], (gain, bias), [*taken, out])
        elif not taken:
            raise ValueError(
                f"{cut.network.name}: {layer.name} ({layer.kind}) takes the image itself; the "
                "integer stage begins with a convolution"
            )
        else:
            built = _without_weights(layer, [*taken, out])
        layers.append(
            built if inputs == (layer.index - 1,) else dataclasses.replace(built, inputs=inputs)
        )
    if cut.is_pooled:
        pixels = int(np.prod(cut.network.pool_hw))
        layers.append(_mean("pool", cut.features, pixels, meanings[-2], meanings[-1]))
    contract.check_stage(tuple(layers), in_shape=cut.network.in_shape)
    return dataclasses.replace(found, stage=tuple(layers))


@dataclasses.dataclass(frozen=True)
class _Meaning:
    """Code q of an output is (q - zero) * span / 255."""

    span: float
    zero: int

    @property
    def scale(self) -> float:
        """Real value of one code."""
        return self.span / 255


def _affine(
    network: Network,
    layer: Layer,
    parameters: Mapping[str, Array | np.ndarray],
    shift_of_mean: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gain and bias after the product, with the shift of its mean taken back."""
    own = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    if not layer.batch_norm:
        return np.ones(layer.out_channels), own["bias"] - shift_of_mean
    gain = own["gamma"] / np.sqrt(own["variance"] + network.bn_epsilon)
    return gain, own["beta"] - gain * (own["mean"] + shift_of_mean)


def _product(
    network: Network,
    layer: Layer,
    weight: tuple[np.ndarray, np.ndarray],
    affine: tuple[np.ndarray, np.ndarray],
    meanings: Sequence[_Meaning],
) -> frozen.IntegerLayer:
    """A layer with weights; `meanings` are its input's, unless that is the image, and output's."""
    (codes, weight_scale), (gain, bias), out = weight, affine, meanings[-1]
    if len(meanings) == 1:  # the image: codes of 0..255 whose mean is not 0
        pad, input_scale = np.round(network.pixel_mean), 1.0
        outside = pad.min() < 0 or pad.max() > 255
        if layer.padding != ((0, 0), (0, 0)) and outside:
            raise ValueError(
                f"{network.name}: {layer.name} pads with zeros, and no pixel code is zero: the "
                f"pixels' mean is {network.pixel_mean}"
            )
        offset = np.tensordot(_summed(codes, layer), network.pixel_mean, axes=([0], [0]))
        bias = bias - gain * weight_scale * offset
        pad = np.clip(pad, 0, 255)
    else:
        pad, input_scale = np.full(layer.in_channels, meanings[0].zero), meanings[0].scale
        if meanings[0].zero:
            sums = codes.reshape(-1, codes.shape[-1]).sum(axis=0)
            bias = bias - gain * weight_scale * input_scale * meanings[0].zero * sums
    multiplier = gain * input_scale * weight_scale / out.scale
    (kappa,), lam, shift = _fixed_point(
        [multiplier], bias / out.scale + (out.zero + 0.5), _accumulator_range(codes)
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


def _without_weights(layer: Layer, meanings: Sequence[_Meaning]) -> frozen.IntegerLayer:
    """An add or a pooling; `meanings` are those of its inputs and of its output."""
    *inputs, out = meanings
    channels = layer.out_channels
    geometry = {"stride": layer.stride, "padding": layer.padding, "window": layer.kernel_hw}
    if layer.kind == "add":
        a, b = inputs
        multipliers = [np.full(channels, one.scale / out.scale) for one in (a, b)]
        zero = (a.scale * a.zero + b.scale * b.zero) / out.scale
        (kappa, kappa_b), lam, shift = _fixed_point(
            multipliers, np.full(channels, out.zero - zero + 0.5), None
        )
        built = _plain("add", kappa, lam, np.zeros(channels))
        return dataclasses.replace(built, kappa_b=jnp.asarray(kappa_b), shift=shift)
    (source,) = inputs
    if layer.kind == "average_pool":
        pixels = int(np.prod(layer.kernel_hw))
        built = _mean("average_pool", channels, pixels, source, out)
        pad = jnp.full((channels,), source.zero, jnp.uint8)
        return dataclasses.replace(built, pad_value=pad, **geometry)
    if layer.activation == "none":
        ones = np.ones(channels, np.int32)
        plain = _plain("max_pool", ones, 0 * ones, np.zeros(channels))
        return dataclasses.replace(plain, **geometry)
    built = _mean("max_pool", channels, 1, source, out)
    return dataclasses.replace(built, **geometry)


def _mean(
    kind: frozen.IntegerKind, channels: int, pixels: int, source: _Meaning, out: _Meaning
) -> frozen.IntegerLayer:
    """A sum over pixels, or a maximum with pixels = 1, brought to the output's codes."""
    ratio = source.span / out.span
    ends = (np.zeros(channels), np.full(channels, 255.0 * pixels))
    (kappa,), lam, shift = _fixed_point(
        [np.full(channels, source.span / out.span / pixels)],
        np.full(channels, out.zero - source.zero * ratio + 0.5),
        ends,
    )
    return dataclasses.replace(_plain(kind, kappa, lam, np.zeros(channels)), shift=shift)


def _plain(
    kind: frozen.IntegerKind, kappa: np.ndarray, lam: np.ndarray, pad: np.ndarray
) -> frozen.IntegerLayer:
    """A layer without weights."""
    return frozen.IntegerLayer(
        weight=jnp.zeros((0,), jnp.int8),
        kappa=jnp.asarray(kappa),
        lam=jnp.asarray(lam),
        pad_value=jnp.asarray(pad.astype(np.uint8)),
        kind=kind,
    )


def _effective_weight(network: Network, layer: Layer, parameters: Parameters) -> np.ndarray:
    """The weight that multiplies the layer's input codes, the pixels' deviation taken in."""
    weight = np.asarray(parameters[layer.name]["weight"], np.float64)
    return weight / _pixel_row(network, layer) if IMAGES in layer.inputs else weight


def _rounded(network: Network, layer: Layer, codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What a weight's codes stand for, float32."""
    scale = scale * _pixel_row(network, layer) if IMAGES in layer.inputs else scale
    return (codes * scale).astype(np.float32)


def _pixel_row(network: Network, layer: Layer) -> np.ndarray:
    """The pixels' deviation along the axis of a weight's input channels."""
    std = np.asarray(network.pixel_std)
    return std if layer.kind == "depthwise" else std[:, None]


def _summed(codes: np.ndarray, layer: Layer) -> np.ndarray:
    """Sum of a weight over the window, [Cin, Cout]."""
    if layer.kind == "depthwise":
        return np.diag(codes.sum(axis=(0, 1)))
    return codes.reshape(-1, *codes.shape[-2:]).sum(axis=0)


def _quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes in -127..127 and their scale per output channel (the last axis)."""
    largest = np.abs(weight).reshape(-1, weight.shape[-1]).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0) / 127
    return np.round(weight / scale), scale


def _accumulator_range(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = codes.reshape(-1, codes.shape[-1])
    return 255 * np.minimum(rows, 0).sum(axis=0), 255 * np.maximum(rows, 0).sum(axis=0)


def _fixed_point(
    multipliers: Sequence[np.ndarray],
    addend: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """kappas, lam and the largest shift for which all fit int32.

    Args:
        multipliers: Of the accumulator, or of both inputs of an add.
        addend: y = floor(multiplier * acc + addend).
        ends: Smallest and largest accumulator; None for an add.
    """
    if ends is not None:
        values = np.stack([multipliers[0] * end for end in ends]) + addend
        # Channels that are 0 or 255 whatever comes in would only cost the others precision.
        always_zero, always_full = values.max(axis=0) < 0, values.min(axis=0) > 256
        multipliers = [np.where(always_zero | always_full, 0.0, multipliers[0])]
        addend = np.where(always_zero, 0.0, np.where(always_full, 255.0, addend))
    largest = max(float(np.abs(row).max()) for row in (*multipliers, addend))
    shift = int(
        np.clip(np.floor(np.log2(_INT32_MAX / max(largest, 1e-30))), 0, fixedpoint.SHIFT_MAX)
    )
    kappas = [np.round(row * 2.0**shift) for row in multipliers]
    lam = np.round(addend * 2.0**shift)
    if max(np.abs(row).max() for row in (*kappas, lam)) > _INT32_MAX:
        raise contract.ContractViolation(
            "a layer's multiplier does not fit int32 at any shift; its batch-norm variance is "
            "damaged or its calibration range is zero"
        )
    return [kappa.astype(np.int32) for kappa in kappas], lam.astype(np.int32), shift
