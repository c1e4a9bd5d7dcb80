"""What real values a network's outputs take on calibration images, and what rounding does to them.

Rounding the weights shifts the mean of every channel, above all in depthwise layers, whose few taps
average nothing out; `mean_shifts` measures that shift, which `quantize` takes back (empirical bias
correction, Nagel et al. 2019, arXiv 1906.04721). On MobileNet-V1 it is worth some 10 dB.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from qlrjax.network import IMAGES, Cut, Layer, Network, floating
from qlrjax.network.floating import Parameters

_BATCH = 32
_CORRECTION_IMAGES = 64


def extremes(
    cut: Cut, parameters: Parameters, images: UInt8[np.ndarray, "n h w c"]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Smallest and largest value of every output of `floating.infer` over the images, 0 included.

    Raises:
        ValueError: There are no images, their shape is not the network's, or the float network
            gives a value that is not finite.
    """
    if cut.latent_layer == 0:
        return (), ()
    check_images(cut.network, images)
    signed = [_can_be_negative(cut, index) for index in range(len(cut.below) + cut.is_pooled)]

    def measure(weights: Parameters, batch: Array) -> tuple[Array, Array | None]:
        outputs = floating.infer(cut, weights, batch)
        largest = jnp.stack([jnp.max(y) for y in outputs])
        if not any(signed):  # MobileNet-V1: the program it always was, to the last bit
            return largest, None
        return largest, jnp.stack([jnp.min(y) for y in outputs])

    measured = jax.jit(measure)
    used = used_by(cut, parameters)
    _check_finite(used)  # activations hide it: ReLU makes 0 of a NaN, and ReLU6 6 of infinity
    found = [measured(used, batch) for batch in batches(images)]
    maxima = np.max([np.asarray(largest) for largest, _ in found], axis=0)
    minima = np.zeros_like(maxima)
    if any(signed):
        minima = np.min([np.asarray(smallest) for _, smallest in found], axis=0)
    if not (np.isfinite(maxima) & np.isfinite(minima)).all():
        bad = int(np.argmin(np.isfinite(maxima) & np.isfinite(minima)))
        raise ValueError(f"calibration: layer {bad} gives infinity; the float weights are damaged")
    low = tuple(min(float(value), 0.0) for value in minima)
    return low, tuple(max(float(value), 0.0) for value in maxima)


def mean_shifts(
    cut: Cut,
    parameters: Parameters,
    rounded: Mapping[str, np.ndarray],
    images: UInt8[np.ndarray, "n h w c"],
) -> dict[str, np.ndarray]:
    """How far rounding the weights moves every product's mean, layer by layer from the image.

    Each layer is measured on inputs whose own shift is already taken back.

    Args:
        cut: The network and where it is cut.
        parameters: Float parameters.
        rounded: What the weights' codes stand for, by layer name.
        images: Calibration images.
    """
    if not cut.below:
        return {}
    network = cut.network

    @jax.jit
    def measure(
        weights: Parameters, approximate: Mapping[str, Array], batch: UInt8[Array, "n h w c"]
    ) -> dict[str, Array]:
        exact = {IMAGES: floating.normalise(batch, network)}
        approx = dict(exact)
        shifts = {}
        for layer in cut.below:
            own = weights.get(layer.name, {})
            if not layer.has_weights:
                for values in (exact, approx):
                    taken = [values[source] for source in layer.inputs]
                    values[layer.name] = floating.infer_layer(network, layer, own, *taken)
                continue
            source = layer.inputs[0]
            y = floating.linear_part(layer, jnp.asarray(own["weight"]), exact[source])
            near = floating.linear_part(layer, approximate[layer.name], approx[source])
            shift = jnp.mean(near - y, axis=(0, 1, 2))
            moved = dict(own)
            if layer.batch_norm:
                moved["mean"] = own["mean"] + shift
            else:
                moved["bias"] = own["bias"] - shift
            exact[layer.name] = floating.finish_layer(network, layer, own, y)
            approx[layer.name] = floating.finish_layer(network, layer, moved, near)
            shifts[layer.name] = shift
        return shifts

    weights = {
        name: {key: np.asarray(value, np.float32) for key, value in own.items()}
        for name, own in used_by(cut, parameters).items()
    }
    spread = np.linspace(0, len(images) - 1, min(_CORRECTION_IMAGES, len(images)))
    measured = measure(weights, rounded, images[spread.round().astype(int)])
    return {name: np.asarray(shift, np.float64) for name, shift in measured.items()}


def used_by(cut: Cut, parameters: Parameters) -> Parameters:
    """Parameters of the layers below the cut."""
    return {layer.name: parameters[layer.name] for layer in cut.below if layer.has_weights}


def batches(images: np.ndarray) -> Iterator[np.ndarray]:
    """Fixed-shape batches: the last one starts earlier, since a maximum may see images twice."""
    size = min(_BATCH, len(images))
    starts: Sequence[int] = range(0, len(images) - size + 1, size)
    yield from (images[start : start + size] for start in starts)
    if len(images) % size:
        yield images[-size:]


def check_images(network: Network, images: np.ndarray) -> None:
    """Raises ValueError unless these are images that the network takes."""
    expected = network.in_shape
    if len(images) == 0 or images.shape[1:] != expected or images.dtype != np.uint8:
        raise ValueError(
            f"images are {images.dtype}{list(images.shape)}; the network takes at least one "
            f"uint8 image of shape {list(expected)}"
        )


def _can_be_negative(cut: Cut, index: int) -> bool:
    """Whether output `index` can be below 0: it has no ReLU, nor has what it is made of."""
    rows: dict[str, Layer] = {row.name: row for row in cut.below}
    row = cut.below[min(index, len(cut.below) - 1)]
    while row.activation == "none" and row.kind in ("max_pool", "average_pool"):
        if row.inputs[0] == IMAGES:
            return True
        row = rows[row.inputs[0]]
    return row.activation == "none"


def _check_finite(parameters: Parameters) -> None:
    for layer, tensors in parameters.items():
        for name, values in tensors.items():
            if not np.isfinite(np.asarray(values)).all():
                raise ValueError(
                    f"calibration: {name} of layer {layer} holds NaN or infinity; "
                    "the float weights are damaged"
                )
