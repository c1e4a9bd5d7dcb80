"""The adaptive stage once more in float64 NumPy, forward and backward written out by hand.

Independent of qlrjax and of automatic differentiation. Parameters are the trees of `adaptive`.
"""

import dataclasses

import numpy as np


def taps(layer, padded):
    """(row, column, strided view) of every kernel position of a padded input."""
    out_h, out_w = layer.out_hw
    for i in range(layer.kernel_hw[0]):
        for j in range(layer.kernel_hw[1]):
            rows = slice(i, i + (out_h - 1) * layer.stride + 1, layer.stride)
            columns = slice(j, j + (out_w - 1) * layer.stride + 1, layer.stride)
            yield i, j, padded[:, rows, columns]


def kernel(layer, weight):
    """Weights as (kh, kw, ...) whatever the kind."""
    return (
        weight.reshape(*layer.kernel_hw, *weight.shape[-2:])
        if (layer.kind != "depthwise")
        else weight
    )


def linear(layer, weight, x):
    """Convolution, depthwise or pointwise product, zero padded."""
    weight, total = kernel(layer, weight), 0.0
    for i, j, view in taps(layer, np.pad(x, ((0, 0), *layer.padding, (0, 0)))):
        total = total + (view * weight[i, j] if layer.kind == "depthwise" else view @ weight[i, j])
    return total


def linear_gradients(layer, weight, x, dy):
    """Gradients of sum(dy * linear(x)) by weight and by x."""
    shape, weight = weight.shape, kernel(layer, weight)
    dweight = np.zeros_like(weight)
    padded = np.pad(x, ((0, 0), *layer.padding, (0, 0)))
    dpadded = np.zeros_like(padded)
    pairs = zip(taps(layer, padded), taps(layer, dpadded), strict=True)
    for (i, j, view), (_, _, dview) in pairs:
        if layer.kind == "depthwise":
            dweight[i, j] = (view * dy).sum(axis=(0, 1, 2))
            dview += dy * weight[i, j]
        else:
            dweight[i, j] = np.einsum("nhwc,nhwd->cd", view, dy)
            dview += dy @ weight[i, j].T
    (top, _), (left, _) = layer.padding
    height, width = layer.in_hw
    return dweight.reshape(shape), dpadded[:, top : top + height, left : left + width]


@dataclasses.dataclass
class Pass:
    """Everything a forward pass leaves behind."""

    loss: float
    logits: np.ndarray
    moments: dict
    corrections: dict
    tape: list
    seen: np.ndarray
    features: np.ndarray


def forward(cut, params, statistics, latents, labels, limits, held=None, center=0.0):
    """Loss and tape. `limits` is (r_max, d_max), or None for running statistics.

    `held` are the corrections of an earlier pass: batch renorm treats r and d as constants.
    The head sees features less the center.
    """
    network, x = cut.network, np.asarray(latents, np.float64)
    if cut.latent_layer == 0:
        x = (x - np.array(network.pixel_mean)) / np.array(network.pixel_std)
    tape, moments, corrections = [], {}, {}
    for layer in network.layers[cut.latent_layer : -1]:
        own = {k: np.asarray(v, np.float64) for k, v in params["layers"][layer.name].items()}
        run = {k: np.asarray(v, np.float64) for k, v in statistics[layer.name].items()}
        y = linear(layer, own["weight"], x)
        mean, std, r, d = run["mean"], run["std"], 1.0, 0.0
        if limits is not None:
            mean = y.mean(axis=(0, 1, 2))
            std = np.sqrt(((y - mean) ** 2).mean(axis=(0, 1, 2)) + network.bn_epsilon)
            moments[layer.name] = {"mean": mean, "std": std}
            r = np.clip(std / run["std"], 1 / limits[0], limits[0])
            d = np.clip((mean - run["mean"]) / run["std"], -limits[1], limits[1])
            if held is not None:
                r, d = held[layer.name]
            corrections[layer.name] = (r, d)
        normal = (y - mean) / std
        z = own["gamma"] * (normal * r + d) + own["beta"]
        top = 6.0 if network.activation == "relu6" else np.inf
        tape.append((layer, own, x, normal, std, r, d, (z > 0) & (z < top)))
        x = np.clip(z, 0, top)
    seen = x.mean(axis=(1, 2)) - center
    logits = seen @ np.asarray(params["head"], np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(labels)), labels].mean()
    return Pass(loss, logits, moments, corrections, tape, seen, x)


def backward(done, params, labels, batch_statistics=True):
    """Gradients of the mean cross-entropy by all parameters, and by every layer's input."""
    p = np.exp(done.logits - done.logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    p /= len(labels)
    head = np.asarray(params["head"], np.float64)
    pixels = done.features.shape[1] * done.features.shape[2]
    g = np.broadcast_to((p @ head.T)[:, None, None] / pixels, done.features.shape)
    layers, inputs = {}, {}
    for layer, own, x, normal, std, r, d, open_ in reversed(done.tape):
        g = g * open_
        grad = {
            "gamma": (g * (normal * r + d)).sum(axis=(0, 1, 2)),
            "beta": g.sum(axis=(0, 1, 2)),
        }
        g = g * own["gamma"] * r
        if batch_statistics:
            g = g - g.mean(axis=(0, 1, 2)) - normal * (g * normal).mean(axis=(0, 1, 2))
        g = g / std
        grad["weight"], g = linear_gradients(layer, own["weight"], x, g)
        layers[layer.name], inputs[layer.name] = grad, g
    return {"layers": layers, "head": done.seen.T @ p}, inputs


def tree_map(function, *trees):
    """Over nested dictionaries."""
    if isinstance(trees[0], dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in trees[0]}
    return function(*(np.asarray(tree, np.float64) for tree in trees))


def sgd(params, gradients, momentum_state, rate, momentum, decay):
    """torch.optim.SGD: new parameters and new momentum."""
    state = tree_map(
        lambda p, g, m: momentum * m + g + decay * p, params, gradients, momentum_state
    )
    return tree_map(lambda p, m: p - rate * m, params, state), state
