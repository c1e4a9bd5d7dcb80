"""FP32 layers: the linear part of every kind, the activation, and inference with batch norm.

Depthwise layers are nine shifted multiply-adds and the first convolution is a hand im2col and one
dot product: grouped convolutions are 30 to 50 times slower on CPU, and worse inside `lax.scan`.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

from qlrjax.network import Activation, Layer, Network

Parameters = Mapping[str, Mapping[str, Array | np.ndarray]]


def normalise(
    images: UInt8[Array, "n h w 3"] | Float32[Array, "n h w 3"], network: Network
) -> Float32[Array, "n h w 3"]:
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
            return patches @ weight.reshape(-1, layer.out_channels)
        case "depthwise":
            taps = _taps(layer, x)
            rows = weight.reshape(len(taps), layer.out_channels)
            total = taps[0] * _row(rows[0])
            for tap, row in zip(taps[1:], rows[1:], strict=True):
                total = total + tap * _row(row)
            return total
        case _:
            return x @ weight


def activate(x: Float32[Array, "*s"], activation: Activation) -> Float32[Array, "*s"]:
    """ReLU or ReLU6. The gradient at 0 and at 6 is 0, as a comparison mask gives it."""
    positive = jnp.where(x > 0, x, 0.0)
    return jnp.where(positive < 6, positive, 6.0) if activation == "relu6" else positive


def infer_layer(
    network: Network,
    layer: Layer,
    parameters: Mapping[str, Array | np.ndarray],
    x: Float32[Array, "n h w c"],
) -> Float32[Array, "n h2 w2 d"]:
    """One layer with its stored batch-norm statistics and its activation."""
    y = linear_part(layer, jnp.asarray(parameters["weight"], jnp.float32), x)
    return finish_layer(network, parameters, y)


def finish_layer(
    network: Network, parameters: Mapping[str, Array | np.ndarray], y: Float32[Array, "n h w d"]
) -> Float32[Array, "n h w d"]:
    """Batch norm with stored statistics, then the activation."""
    own = {name: jnp.asarray(value, jnp.float32) for name, value in parameters.items()}
    gain = own["gamma"] / jnp.sqrt(own["variance"] + network.bn_epsilon)
    y = (y - _row(own["mean"])) * _row(gain) + _row(own["beta"])
    return activate(y, network.activation)


def infer(
    network: Network,
    parameters: Parameters,
    images: UInt8[Array, "n h w 3"],
    latent_layer: int,
) -> list[Float32[Array, "n _ _ _"]]:
    """Outputs of layers 0 to latent_layer - 1; the global pooling's output follows if l is last."""
    x = normalise(images, network)
    outputs = []
    for layer in network.frozen(latent_layer):
        x = infer_layer(network, layer, parameters[layer.name], x)
        outputs.append(x)
    if latent_layer == network.last:
        outputs.append(global_pool(x))
    return outputs


def global_pool(x: Float32[Array, "n h w c"]) -> Float32[Array, "n 1 1 c"]:
    """Mean over the image."""
    return jnp.mean(x, axis=(1, 2), keepdims=True)


def _row(values: Float32[Array, " c"]) -> Float32[Array, "1 1 1 c"]:
    return values.reshape(1, 1, 1, -1)


def _taps(layer: Layer, x: Float32[Array, "n h w c"]) -> list[Float32[Array, "n h2 w2 c"]]:
    """The strided view of the zero-padded input under every kernel position, row by row."""
    padded = jnp.pad(x, ((0, 0), *layer.padding, (0, 0)))
    (out_h, out_w), step = layer.out_hw, layer.stride
    reach_h, reach_w = (out_h - 1) * step + 1, (out_w - 1) * step + 1
    return [
        padded[:, i : i + reach_h : step, j : j + reach_w : step]
        for i in range(layer.kernel)
        for j in range(layer.kernel)
    ]
