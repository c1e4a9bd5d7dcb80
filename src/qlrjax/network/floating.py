"""FP32 layers: the linear part of every kind, adds and poolings, the activation, inference.

Depthwise layers are nine shifted multiply-adds and the first convolution is a hand im2col and one
dot product: grouped convolutions are 30 to 50 times slower on CPU, and worse inside `lax.scan`.
Products are of matrices, never of images, which XLA would transpose for the weight gradient;
that and `_depthwise`'s own gradient take 15 to 33 % off a training step (`make bench`).
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, UInt8

from qlrjax.network import IMAGES, Activation, Cut, Layer, Network

Parameters = Mapping[str, Mapping[str, Array | np.ndarray]]
# Pixel codes 0 to 255; as floats where they come from elsewhere than a photo.
Images = UInt8[Array, "n h w c"] | Float32[Array, "n h w c"]


def normalise(images: Images, network: Network) -> Float32[Array, "n h w c"]:
    """Pixel codes 0..255 to what the network was trained on: (code - mean) / std."""
    mean = jnp.asarray(network.pixel_mean, jnp.float32)
    std = jnp.asarray(network.pixel_std, jnp.float32)
    return (images.astype(jnp.float32) - _row(mean)) / _row(std)


def linear_part(
    layer: Layer, weight: Float32[Array, "..."], x: Float32[Array, "n h w c"]
) -> Float32[Array, "n h2 w2 d"]:
    """Convolution, depthwise or pointwise product of a batch, before batch norm."""
    match layer.kind:
        case "conv":
            patches = jnp.concatenate(_taps(layer, x), axis=-1)
            return _pointwise(patches, weight.reshape(-1, layer.out_channels))
        case "depthwise":
            return _depthwise(layer, weight.reshape(-1, layer.out_channels), x)
        case _:
            return _pointwise(x, weight)


def combine(
    layer: Layer, inputs: Sequence[Float32[Array, "n h w c"]]
) -> Float32[Array, "n h2 w2 c"]:
    """What a layer without weights makes of its inputs: a sum, a window's maximum or its mean.

    Where a window holds its maximum several times, the first one takes the gradient.
    """
    match layer.kind:
        case "add":
            return inputs[0] + inputs[1]
        case "max_pool":
            first, *others = _taps(layer, inputs[0], -jnp.inf)
            for tap in others:
                first = jnp.where(tap > first, tap, first)
            return first
        case "average_pool":
            first, *others = _taps(layer, inputs[0])
            for tap in others:
                first = first + tap
            return first / (layer.kernel_hw[0] * layer.kernel_hw[1])
        case _:
            raise ValueError(f"layer {layer.name} is a {layer.kind} layer and has weights")


def activate(x: Float32[Array, "*s"], activation: Activation) -> Float32[Array, "*s"]:
    """ReLU, ReLU6 or nothing. The gradient at 0 and at 6 is 0, as a comparison mask gives it."""
    if activation == "none":
        return x
    positive = jnp.where(x > 0, x, 0.0)
    return jnp.where(positive < 6, positive, 6.0) if activation == "relu6" else positive


def passes_gradient(x: Float32[Array, "*s"], activation: Activation) -> Bool[Array, "*s"] | None:
    """Where `activate` lets a gradient through; None: everywhere."""
    if activation == "none":
        return None
    return (x > 0) & (x < 6) if activation == "relu6" else x > 0


def infer_layer(
    network: Network,
    layer: Layer,
    parameters: Mapping[str, Array | np.ndarray],
    *inputs: Float32[Array, "n h w c"],
) -> Float32[Array, "n h2 w2 d"]:
    """One layer with its stored batch-norm statistics or bias, and its activation."""
    if not layer.has_weights:
        return activate(combine(layer, inputs), layer.activation)
    y = linear_part(layer, jnp.asarray(parameters["weight"], jnp.float32), inputs[0])
    return finish_layer(network, layer, parameters, y)


def finish_layer(
    network: Network,
    layer: Layer,
    parameters: Mapping[str, Array | np.ndarray],
    y: Float32[Array, "n h w d"],
) -> Float32[Array, "n h w d"]:
    """Batch norm with stored statistics, or the bias; then the activation."""
    own = {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
    if layer.batch_norm:
        gain = own["gamma"] / jnp.sqrt(own["variance"] + network.bn_epsilon)
        y = (y - _row(own["mean"])) * _row(gain) + _row(own["beta"])
    else:
        y = y + _row(own["bias"])
    return activate(y, layer.activation)


def infer(cut: Cut, parameters: Parameters, images: Images) -> list[Float32[Array, "n _ _ _"]]:
    """Outputs of the layers below the cut, and of the global pooling if it is below too."""
    values = {IMAGES: normalise(images, cut.network)}
    outputs = []
    for layer in cut.below:
        inputs = [values[source] for source in layer.inputs]
        own = parameters.get(layer.name, {})
        values[layer.name] = infer_layer(cut.network, layer, own, *inputs)
        outputs.append(values[layer.name])
    if cut.is_pooled:
        outputs.append(global_pool(outputs[-1]))
    return outputs


def classify(
    network: Network, parameters: Parameters, images: Images
) -> Float32[Array, "n classes"]:
    """Logits of the pretrained network with the classifier it came with.

    Raises:
        KeyError: The parameters have no classifier.
    """
    pooled = infer(Cut(network, network.last), parameters, images)[-1]
    own = parameters[network.layers[-1].name]
    logits = pooled[:, 0, 0] @ jnp.asarray(own["weight"], jnp.float32)
    return logits + jnp.asarray(own["bias"], jnp.float32)[None, :]


def global_pool(x: Float32[Array, "n h w c"]) -> Float32[Array, "n 1 1 c"]:
    """Mean over the image."""
    return jnp.mean(x, axis=(1, 2), keepdims=True)


def _pointwise(
    x: Float32[Array, "n h w c"], weight: Float32[Array, "c d"]
) -> Float32[Array, "n h w d"]:
    return (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _depthwise(
    layer: Layer, rows: Float32[Array, "taps c"], x: Float32[Array, "n h w c"]
) -> Float32[Array, "n h2 w2 c"]:
    return _weighted_sum(_taps(layer, x), rows)


def _depthwise_forward(layer: Layer, rows: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
    return _depthwise(layer, rows, x), (rows, x)


def _depthwise_backward(
    layer: Layer, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    """The gradient of the input is a depthwise layer too: of the gradient, spread by the stride.

    Left to itself, XLA sums nine padded arrays, element by element and several times slower.
    """
    rows, x = saved
    of_rows = jnp.stack([jnp.sum(tap * gradient, axis=(0, 1, 2)) for tap in _taps(layer, x)])
    edges = []
    sides = zip(layer.in_hw, layer.out_hw, layer.kernel_hw, layer.padding, strict=True)
    for size, out, kernel, (low, _) in sides:
        before = kernel - 1 - low
        spread = (out - 1) * layer.stride + 1
        edges.append((before, size + kernel - 1 - before - spread, layer.stride - 1))
    spread = jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    return of_rows, _weighted_sum(_windows(spread, layer.kernel_hw, layer.in_hw, 1), rows[::-1])


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _weighted_sum(taps: list[Array], rows: Float32[Array, "taps c"]) -> Array:
    total = taps[0] * _row(rows[0])
    for tap, row in zip(taps[1:], rows[1:], strict=True):
        total = total + tap * _row(row)
    return total


def _row(values: Float32[Array, " c"]) -> Float32[Array, "1 1 1 c"]:
    return values.reshape(1, 1, 1, -1)


def _taps(
    layer: Layer, x: Float32[Array, "n h w c"], fill: float = 0.0
) -> list[Float32[Array, "n h2 w2 c"]]:
    """The strided view of the padded input under every kernel position, row by row."""
    padded = jnp.pad(x, ((0, 0), *layer.padding, (0, 0)), constant_values=fill)
    return _windows(padded, layer.kernel_hw, layer.out_hw, layer.stride)


def _windows(
    padded: Array, kernel_hw: tuple[int, int], out_hw: tuple[int, int], step: int
) -> list[Array]:
    reach_h, reach_w = (out_hw[0] - 1) * step + 1, (out_hw[1] - 1) * step + 1
    return [
        padded[:, i : i + reach_h : step, j : j + reach_w : step]
        for i in range(kernel_hw[0])
        for j in range(kernel_hw[1])
    ]
