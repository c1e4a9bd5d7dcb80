"""The adaptive stage: FP32 forward of the trained layers, batch renorm, loss.

Parameters are a plain tree: {"layers": {name: {"weight", "gamma", "beta"}}, "head": (C, classes)},
with "bias" in place of gamma and beta where no batch norm follows; the statistics of batch renorm
are {name: {"mean", "std"}}. The head has no bias (ar1-pytorch).
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.network import Cut, floating
from qlrjax.training import maps as kept

Params = dict[str, Any]
Statistics = dict[str, dict[str, Array]]


@flax.struct.dataclass
class RenormLimits:
    """How far batch renorm may correct: r in [1/r_max, r_max], d in [-d_max, d_max]."""

    r_max: Float32[Array, ""]
    d_max: Float32[Array, ""]


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
    maps: kept.Maps = "float32",
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
        maps: How training keeps maps between forward and backward, see `maps`.

    Returns:
        Logits, and the batch's mean and standard deviation by layer (empty without limits).
    """
    pooled, batch_statistics = features(cut, params, statistics, latents, limits, there, maps)
    return score(params, pooled), batch_statistics


@jax.named_scope("head")
def score(params: Params, seen: Float32[Array, "n features"]) -> Float32[Array, "n classes"]:
    """Logits of features; "power" and "bias" only heads have that are computed, not trained."""
    if "power" in params:  # see `strategies.distance`
        seen = raised(seen, params["power"])
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
    maps: kept.Maps = "float32",
) -> tuple[Float32[Array, "n features"], Statistics]:
    """What the head sees, and the batch's statistics; arguments as for `forward`."""
    x = floating.normalise(latents, cut.network) if cut.latent_layer == 0 else latents
    batch_statistics: Statistics = {}
    values = {cut.latent_name: x}
    for layer in cut.above[:-1]:
        inputs = [values[source] for source in layer.inputs]
        if not layer.has_weights:
            y = floating.combine(layer, inputs)
        elif not layer.batch_norm:
            trained = params["layers"][layer.name]
            y = kept.stored(floating.linear_part(layer, trained["weight"], inputs[0]), maps)
            y = y + _row(trained["bias"])
        else:
            trained, running = params["layers"][layer.name], statistics[layer.name]
            y = kept.stored(floating.linear_part(layer, trained["weight"], inputs[0]), maps)
            if limits is None:
                y = (y - _row(running["mean"])) / _row(running["std"])
            else:
                batch = batch_moments(y, cut.network.bn_epsilon, there)
                batch_statistics[layer.name] = batch
                y = renormalise(y, batch, running, limits)
            y = y * _row(trained["gamma"]) + _row(trained["beta"])
        x = floating.activate(kept.returned(y, maps), layer.activation)
        values[layer.name] = x
    return floating.global_pool(x).reshape(x.shape[0], -1), batch_statistics


def batch_moments(
    y: Float32[Array, "n h w c"], epsilon: float, there: Bool[Array, " n"] | None = None
) -> dict[str, Array]:
    """Mean and sqrt(biased variance + epsilon) per channel, of the samples that are there."""
    if there is None:
        mean = jnp.mean(y, axis=(0, 1, 2))
        variance = jnp.mean((y - _row(mean)) ** 2, axis=(0, 1, 2))
    else:
        share = there.astype(jnp.float32) / jnp.sum(there.astype(jnp.float32))
        share = share.reshape(-1, 1, 1, 1) / (y.shape[1] * y.shape[2])
        mean = jnp.sum(y * share, axis=(0, 1, 2))
        variance = jnp.sum((y - _row(mean)) ** 2 * share, axis=(0, 1, 2))
    return {"mean": mean, "std": jnp.sqrt(variance + epsilon)}


def renormalise(
    y: Float32[Array, "n h w c"],
    batch: dict[str, Array],
    running: dict[str, Array],
    limits: RenormLimits,
) -> Float32[Array, "n h w c"]:
    """(y - mean_B) / std_B * r + d, with r and d held constant in the gradient (Ioffe 2017)."""
    r = jnp.clip(batch["std"] / running["std"], 1 / limits.r_max, limits.r_max)
    d = (batch["mean"] - running["mean"]) / running["std"]
    d = jnp.clip(d, -limits.d_max, limits.d_max)
    r, d = jax.lax.stop_gradient(r), jax.lax.stop_gradient(d)
    return (y - _row(batch["mean"])) * _row(r / batch["std"]) + _row(d)


def update_statistics(
    running: Statistics, batch: Statistics, momentum: Float32[Array, ""]
) -> Statistics:
    """Returns running + momentum * (batch - running), on mean and standard deviation."""
    return jax.tree.map(lambda old, new: old + momentum * (new - old), running, batch)


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
