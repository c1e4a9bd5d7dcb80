"""ar1-pytorch's training loop in float64 NumPy, step by step and with all its accidents.

Written from what `ar1star_lat_replay.py` and `ar1free_lat_replay.py` of vlomonaco/ar1-pytorch do
(see the project's notes on the published protocol), and not from qlrjax: the list of current
classes with its duplicates, the first batch padded with its own beginning, mini-batches that run
short of replays, a memory that keeps its first size, limits of batch renorm that overshoot, running
deviations without epsilon, classes never seen that answer with what they were trained to, and
Synaptic Intelligence on weights only. Forward and backward pass are `oracle_float`'s. The order of
the new latents is given; which were admitted is read from the result and judged.
"""

import dataclasses
from typing import Any

import numpy as np
from support import oracle_float


@dataclasses.dataclass
class Config:
    """Named as in params.cfg."""

    mb_size: int
    rm_sz: int
    init_lr: float
    inc_lr: float
    train_ep: int
    momentum: float
    l2: float
    init_update_rate: float
    inc_update_rate: float
    max_r_max: float
    max_d_max: float
    inc_step: float
    ewc_lambda: float = 0.0


@dataclasses.dataclass
class Model:
    """The network above the cut, its optimizer, and what the loop keeps beside it."""

    cut: Any
    config: Config
    params: dict
    statistics: dict
    momentum: dict
    r_max: float = 1.0
    d_max: float = 0.0
    saved: dict = dataclasses.field(default_factory=dict)
    past: Any = 0
    rm_x: Any = None
    rm_y: Any = None
    batches: int = 0
    importance: Any = None
    cumulated: Any = None


def start(cut, config, parameters):
    """From pretrained parameters; the running deviation is sqrt(variance)."""
    layers, statistics = {}, {}
    for layer in cut.normalised:
        own = {key: np.asarray(value, np.float64) for key, value in parameters[layer.name].items()}
        layers[layer.name] = {key: own[key] for key in ("weight", "gamma", "beta")}
        statistics[layer.name] = {"mean": own["mean"], "std": np.sqrt(own["variance"])}
    params = {"layers": layers, "head": np.zeros((cut.features, cut.classes))}
    zeros = oracle_float.tree_map(np.zeros_like, params)
    weights = {name: np.zeros_like(own["weight"]) for name, own in layers.items()}
    return Model(
        cut,
        config,
        params,
        statistics,
        zeros,
        past=np.zeros(cut.classes),
        importance=weights,
        cumulated={name: w.copy() for name, w in weights.items()},
    )


def learn(model, x, y, order):
    """One batch of the loop, up to its consolidation; returns losses and the padded batch.

    Args:
        model: Changed in place.
        x: Real-valued latents of the event.
        y: Labels.
        order: Permutation of the padded batch.
    """
    config, i = model.config, model.batches
    rate = config.init_lr if i == 0 else config.inc_lr
    if i == 1:
        model.momentum = oracle_float.tree_map(np.zeros_like, model.params)
        model.r_max, model.d_max = config.max_r_max, config.max_d_max
    current = sorted({int(label) for label in y})
    cur_j = np.bincount(y, minlength=model.cut.classes)
    if i > 0:
        current += [int(label) for label in model.rm_y]  # one entry a stored latent
        cur_j = cur_j + np.bincount(model.rm_y, minlength=model.cut.classes)
    head = np.zeros_like(model.params["head"])
    for label, weights in model.saved.items():
        if label in current:
            head[:, label] = weights
    model.params = {**model.params, "head": head}
    if i == 0 and len(x) % config.mb_size:
        missing = config.mb_size - len(x) % config.mb_size
        x, y = np.concatenate([x[:missing], x]), np.concatenate([y[:missing], y])
    x, y = x[order], y[order]
    cur, inject, iterations = config.mb_size, 0, len(x) // config.mb_size
    if i > 0:
        cur = len(x) // ((len(x) + config.rm_sz) // config.mb_size)
        iterations, inject = len(x) // cur, max(0, config.mb_size - cur)
    reference = {name: own["weight"].copy() for name, own in model.params["layers"].items()}
    path = {name: np.zeros_like(weight) for name, weight in reference.items()}
    losses = []
    for _ in range(config.train_ep):
        for it in range(iterations):
            mb_x, mb_y = x[it * cur : (it + 1) * cur], y[it * cur : (it + 1) * cur]
            if i > 0:
                rows = slice(it * inject, (it + 1) * inject)
                mb_x = np.concatenate([mb_x, model.rm_x[rows]])
                mb_y = np.concatenate([mb_y, model.rm_y[rows]])
            losses.append(_step(model, mb_x, mb_y, rate, reference, path))
    _consolidate(model, current, cur_j)
    for name, own in model.params["layers"].items():
        model.cumulated[name] += path[name] / ((own["weight"] - reference[name]) ** 2 + 1e-7)
        model.importance[name] = np.minimum(-model.cumulated[name], 0.001)
    model.past = model.past + cur_j
    model.batches += 1
    used = iterations * cur
    return losses, x[:used], y[:used]


def _step(model, x, y, rate, reference, path):
    config, layers = model.config, model.params["layers"]
    limits = (model.r_max, model.d_max)
    done = oracle_float.forward(model.cut, model.params, model.statistics, x, y, limits)
    gradients, _ = oracle_float.backward(done, model.params, y)
    if config.ewc_lambda:
        for name, own in layers.items():
            pull = model.importance[name] * (own["weight"] - reference[name])
            gradients["layers"][name]["weight"] = (
                gradients["layers"][name]["weight"] + config.ewc_lambda * pull
            )
    if model.batches == 0:
        if model.r_max < config.max_r_max:
            model.r_max += config.inc_step * len(x)
        if model.d_max < config.max_d_max:
            model.d_max += config.inc_step * len(x)
    update = config.init_update_rate if model.batches == 0 else config.inc_update_rate
    for name, moments in done.moments.items():
        for key, value in moments.items():
            old = model.statistics[name][key]
            model.statistics[name][key] = old + update * (value - old)
    before = layers
    model.params, model.momentum = oracle_float.sgd(
        model.params, gradients, model.momentum, rate, config.momentum, config.l2
    )
    for name, own in model.params["layers"].items():
        path[name] += gradients["layers"][name]["weight"] * (own["weight"] - before[name]["weight"])
    return done.loss


def _consolidate(model, current, cur_j):
    """Through the list, so that a class is averaged once for every entry."""
    trained = model.params["head"]
    mean = np.average(trained.T[current])
    for label in current:
        own = trained[:, label] - mean
        if label in model.saved:
            weight = np.sqrt(model.past[label] / cur_j[label])
            model.saved[label] = (model.saved[label] * weight + own) / (weight + 1)
        else:
            model.saved[label] = own


def admit(model, offered_x, offered_y, memory_x, memory_y):
    """Takes over the memory that the other side has, once it is seen to obey the rule.

    h = min(rm_sz // (i + 1), collected) of the offered latents, each at most as often as it was
    offered; the first batch makes the memory, later ones write over h of its rows.
    """
    h = min(model.config.rm_sz // model.batches, len(offered_x))
    before = 0 if model.rm_x is None else len(model.rm_x)
    size = h if model.batches == 1 else before
    assert len(memory_x) == size
    keys = [row.tobytes() for row in offered_x]
    labels = dict(zip(keys, offered_y, strict=True))
    taken = []
    for slot, row in enumerate(memory_x):
        if slot < before and np.array_equal(row, model.rm_x[slot]):
            assert memory_y[slot] == model.rm_y[slot]
            continue
        key = row.tobytes()
        assert labels[key] == memory_y[slot]
        taken.append(key)
    assert len(taken) == h
    assert all(taken.count(key) <= keys.count(key) for key in set(taken))
    model.rm_x, model.rm_y = np.array(memory_x), np.array(memory_y)


def predicting_head(model):
    """`set_consolidate_weights`: saved classes over whatever was trained last."""
    head = model.params["head"].copy()
    for label, weights in model.saved.items():
        head[:, label] = weights
    return head
