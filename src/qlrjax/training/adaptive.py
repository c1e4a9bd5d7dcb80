"""The adaptive stage: FP32 forward of the trained layers, batch renorm, loss.

Parameters are a plain tree: {"layers": {name: {"weight", "gamma", "beta"}}, "head": (C, classes)},
with "bias" in place of gamma and beta where no batch norm follows; the statistics of batch renorm
are {name: {"mean", "std"}}. The head has no bias (ar1-pytorch).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.network import Cut, Layer, floating
from qlrjax.training import chain, kernels, renorm
from qlrjax.training import maps as kept
from qlrjax.training.protocol import Maps
from qlrjax.training.renorm import Raw, RenormLimits, Statistics

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Passes:
    """How the passes of a mini-batch are computed.

    Attributes:
        maps: How training keeps maps between forward and backward, see `maps`.
        native: The C kernels compute what lies between the products, see `kernels`.
    """

    maps: Maps = "float32"
    native: bool = False


def init(
    cut: Cut, parameters: floating.Parameters, epsilon_in_std: bool = True
) -> tuple[Params, Statistics]:
    """Trained parameters and statistics from pretrained ones; the head starts at zero.

    std = sqrt(variance + epsilon): epsilon stays inside the root, since pretrained variances can be
    as small as 1e-35. ar1-pytorch leaves it out, as `epsilon_in_std=False` does.
    """
    epsilon = cut.network.bn_epsilon if epsilon_in_std else 0.0
    layers, statistics = {}, {}
    for layer in cut.weighted:
        source = parameters[layer.name]
        names = ("weight", "gamma", "beta") if layer.batch_norm else ("weight", "bias")
        layers[layer.name] = {name: jnp.asarray(source[name], jnp.float32) for name in names}
        if not layer.batch_norm:
            continue
        std = np.sqrt(np.asarray(source["variance"], np.float64) + epsilon)
        statistics[layer.name] = {
            "mean": jnp.asarray(source["mean"], jnp.float32),
            "std": jnp.asarray(std, jnp.float32),
        }
    head = jnp.zeros((cut.features, cut.classes), jnp.float32)
    return {"layers": layers, "head": head}, statistics


def forward(
    cut: Cut,
    params: Params,
    statistics: Statistics,
    latents: Float32[Array, "n h w c"],
    limits: RenormLimits | None = None,
    there: Bool[Array, " n"] | None = None,
    passes: Passes = Passes(),
) -> tuple[Float32[Array, "n classes"], Statistics]:
    """Logits of a batch of dequantized latents.

    Args:
        cut: Where the network is cut; at layer 0 the latents are pixel codes and normalised here.
        params: See the module.
        statistics: Running mean and standard deviation by layer.
        latents: Real-valued inputs of the first trained layer.
        limits: Given, the batch's own statistics normalise it, corrected within the limits (batch
            renorm, training). None: the running statistics do (inference).
        there: Latents that count in the batch's statistics; None: all.
        passes: See the class.

    Returns:
        Logits, and the batch's mean and standard deviation by layer (empty without limits).
    """
    pooled, batch_statistics = features(cut, params, statistics, latents, limits, there, passes)
    return score(params, pooled), batch_statistics


@jax.named_scope("head")
def score(params: Params, seen: Float32[Array, "n features"]) -> Float32[Array, "n classes"]:
    """Logits of features; "power", "center" and "bias" come to a head, and are not trained."""
    if "power" in params:  # see `strategies.distance`
        seen = raised(seen, params["power"])
    if "center" in params:
        seen = seen - params["center"][None, :]
    logits = seen @ params["head"]
    return logits + params["bias"][None, :] if "bias" in params else logits


def raised(seen: Float32[Array, "n features"], power: Array) -> Float32[Array, "n features"]:
    """Features by their magnitude to a power, above 0; signs stay."""
    return jnp.sign(seen) * jnp.abs(seen) ** power


def features(
    cut: Cut,
    params: Params,
    statistics: Statistics,
    latents: Float32[Array, "n h w c"],
    limits: RenormLimits | None = None,
    there: Bool[Array, " n"] | None = None,
    passes: Passes = Passes(),
) -> tuple[Float32[Array, "n features"], Statistics]:
    """What the head sees, and the batch's statistics; arguments as for `forward`."""
    first = floating.normalise(latents, cut.network) if cut.latent_layer == 0 else latents
    values: dict[str, Array | Raw] = {cut.latent_name: first}
    batch_statistics: Statistics = {}

    def read(name: str) -> Float32[Array, "n h w c"]:
        value = values[name]
        if isinstance(value, Raw):
            value, batch_statistics[name] = renorm.normalised(value)
            values[name] = value
        return value

    def raw_output(layer: Layer, weight: Array) -> Float32[Array, "n h w c"]:
        below = values[source := layer.inputs[0]]
        if isinstance(below, Raw) and chain.fits(cut, layer, below):
            rows = weight.reshape(-1, layer.out_channels)
            y, batch_statistics[source] = chain.depthwise(layer, rows, below)
            return y
        return linear_part(layer, weight, read(source), passes)

    for layer in cut.above[:-1]:
        if layer.has_weights:
            trained = params["layers"][layer.name]
            y = kept.stored(raw_output(layer, trained["weight"]), passes.maps)
            if layer.batch_norm and limits is not None:
                rule = renorm.Rule(
                    layer.activation, cut.network.bn_epsilon, passes.maps, passes.native
                )
                affine = {name: trained[name] for name in ("gamma", "beta")}
                values[layer.name] = Raw(rule, y, affine, statistics[layer.name], limits, there)
                continue
            y = _shifted(layer, y, trained, statistics)
        else:
            y = floating.combine(layer, [read(source) for source in layer.inputs])
        values[layer.name] = floating.activate(kept.returned(y, passes.maps), layer.activation)
    x = read(next(reversed(values)))  # of the last layer, or the latents
    return floating.global_pool(x).reshape(x.shape[0], -1), batch_statistics


def linear_part(
    layer: Layer, weight: Float32[Array, "..."], x: Float32[Array, "n h w c"], passes: Passes
) -> Float32[Array, "n h2 w2 d"]:
    """See `floating.linear_part`."""
    if passes.native and kernels.fits(layer):
        return kernels.depthwise(layer, weight.reshape(-1, layer.out_channels), x)
    return floating.linear_part(layer, weight, x)


def _shifted(layer: Layer, y: Array, trained: dict[str, Array], statistics: Statistics) -> Array:
    """A raw output with its bias, or normalised by running statistics."""
    if not layer.batch_norm:
        return y + _row(trained["bias"])
    running = statistics[layer.name]
    y = (y - _row(running["mean"])) / _row(running["std"])
    return y * _row(trained["gamma"]) + _row(trained["beta"])


def cross_entropy(
    logits: Float32[Array, "n classes"], labels: Int32[Array, " n"], weight: Bool[Array, " n"]
) -> Float32[Array, ""]:
    """Mean over the samples whose weight is true, over all logits without masking."""
    log_p = jax.nn.log_softmax(logits)
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    share = weight.astype(jnp.float32)
    return -jnp.sum(picked * share) / jnp.maximum(jnp.sum(share), 1.0)


def _row(values: Float32[Array, " c"]) -> Float32[Array, "1 1 1 c"]:
    return values.reshape(1, 1, 1, -1)
