"""The adaptive stage of a graph once more in float64 NumPy; gradients by central differences."""

import numpy as np
from support import oracle_float


def pool(layer, x):
    """Maximum or mean of windows."""
    fill = -np.inf if layer.kind == "max_pool" else 0.0
    padded = np.pad(x, ((0, 0), *layer.padding, (0, 0)), constant_values=fill)
    views = np.stack([view for _, _, view in oracle_float.taps(layer, padded)])
    return views.max(axis=0) if layer.kind == "max_pool" else views.mean(axis=0)


def loss(cut, params, statistics, latents, labels, limits=None, held=None):
    """Mean cross-entropy, and the corrections (r, d) of every batch norm, to hold in another call.

    Arguments are as for `oracle_float.forward`.
    """
    x = np.asarray(latents, np.float64)
    values, corrections = {cut.latent_name: x}, {}
    for layer in cut.above[:-1]:
        first = values[layer.inputs[0]]
        own = {
            k: np.asarray(v, np.float64) for k, v in params["layers"].get(layer.name, {}).items()
        }
        if layer.kind == "add":
            y = first + values[layer.inputs[1]]
        elif not own:
            y = pool(layer, first)
        elif layer.batch_norm:
            y = oracle_float.linear(layer, own["weight"], first)
            run = {k: np.asarray(v, np.float64) for k, v in statistics[layer.name].items()}
            mean, std, r, d = run["mean"], run["std"], 1.0, 0.0
            if limits is not None:
                mean = y.mean(axis=(0, 1, 2))
                std = np.sqrt(((y - mean) ** 2).mean(axis=(0, 1, 2)) + cut.network.bn_epsilon)
                r = np.clip(std / run["std"], 1 / limits[0], limits[0])
                d = np.clip((mean - run["mean"]) / run["std"], -limits[1], limits[1])
                r, d = held[layer.name] if held else (r, d)
                corrections[layer.name] = (r, d)
            y = own["gamma"] * ((y - mean) / std * r + d) + own["beta"]
        else:
            y = oracle_float.linear(layer, own["weight"], first) + own["bias"]
        if layer.activation != "none":
            y = np.clip(y, 0, 6 if layer.activation == "relu6" else np.inf)
        x = values[layer.name] = y
    logits = x.mean(axis=(1, 2)) @ np.asarray(params["head"], np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean(), corrections


def slope(call, array, place, step=1e-6):
    """Derivative of call(array) by one entry of a float64 array, by central differences."""
    ends = []
    for sign in (1, -1):
        moved = array.copy()
        moved[place] += sign * step
        ends.append(call(moved))
    return (ends[0] - ends[1]) / (2 * step)
