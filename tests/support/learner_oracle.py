"""One whole learning event in float64 NumPy, from the published protocol and not from qlrjax.

The protocol is ar1-pytorch's (batch renorm, SGD with momentum and weight decay, CWR* head, mini-
batches of new and replayed latents, admission). The backward pass is `oracle_float`'s. Of random
draws, the order of the new latents is given, and which latents were admitted is read from the
result and judged: everything else is computed here.
"""

import dataclasses

import numpy as np
from support import oracle, oracle_float


@dataclasses.dataclass
class Rules:
    """Settings of an event, named as in ar1-pytorch's params.cfg where it has a name."""

    mb_size: int
    epochs: int
    lr: float
    momentum: float
    l2: float
    update_rate: float
    r_start: float
    d_start: float
    max_r_max: float
    max_d_max: float
    inc_step: float
    center_share: float = 0.0


@dataclasses.dataclass
class Learner:
    """All state, float64; `codes` and `memory_labels` have one row a used slot."""

    params: dict
    statistics: dict
    momentum: dict
    saved: np.ndarray
    past: np.ndarray
    codes: np.ndarray
    memory_labels: np.ndarray
    center: np.ndarray
    events: int = 0


def start(params, statistics, elements):
    """Nothing learned, an empty memory."""
    params = oracle_float.tree_map(np.copy, params)
    return Learner(
        params,
        oracle_float.tree_map(np.copy, statistics),
        oracle_float.tree_map(np.zeros_like, params),
        np.zeros_like(params["head"]),
        np.zeros(params["head"].shape[1]),
        np.zeros((0, elements), np.int64),
        np.zeros(0, np.int64),
        np.zeros(len(params["head"])),
    )


def minibatches(order, slots, used, mb_size, drop_remainder):
    """(new, replayed) row numbers of an epoch's mini-batches."""
    order = list(order)
    if used == 0:  # padded with its own first latents to whole mini-batches
        order += (order * mb_size)[: -len(order) % mb_size]
        return [(order[i : i + mb_size], []) for i in range(0, len(order), mb_size)]
    cur = len(order) // ((len(order) + slots) // mb_size)
    parts, position = [], 0
    for begin in range(0, len(order), cur):
        part = order[begin : begin + cur]
        if drop_remainder and len(part) < cur:
            break
        replayed = [(position + i) % used for i in range(mb_size - len(part))]
        position += len(replayed)
        parts.append((part, replayed))
    return parts


FLOATS = 32  # bits at which latents are no codes, but real values kept as they are


def narrowed(codes, bits):
    """8-bit codes as the memory keeps them: the nearest of 2**bits - 1 equal steps."""
    if bits == FLOATS:
        return np.asarray(codes, np.float64)
    return np.floor(np.asarray(codes, np.float64) / 255 * (2**bits - 1) + 0.5).astype(np.int64)


def learn(cut, rules, learner, codes, labels, order, slots, bits, latent_max, drop_remainder):
    """Trains and consolidates; returns the learner, the losses and the rows that were used.

    Admission is left to `admitted`.
    """
    classes = learner.past.size
    cur_j = np.bincount(np.concatenate([labels, learner.memory_labels]), minlength=classes)
    present = [c for c in range(classes) if cur_j[c]]
    head = np.zeros_like(learner.saved)
    head[:, present] = learner.saved[:, present]
    params = {"layers": learner.params["layers"], "head": head}
    statistics, momentum = learner.statistics, learner.momentum
    if learner.events == 1:
        momentum = oracle_float.tree_map(np.zeros_like, momentum)
    shape = (-1, *cut.latent_shape)
    fresh, kept = np.asarray(codes, np.float64), learner.codes.astype(np.float64)
    if bits != FLOATS:
        fresh, kept = fresh * (latent_max / 255), kept * (latent_max / (2**bits - 1))
    fresh, kept = fresh.reshape(shape), kept.reshape(shape)
    parts = minibatches(order, slots, len(kept), rules.mb_size, drop_remainder)
    losses, r_max, d_max, center = [], rules.r_start, rules.d_start, learner.center
    for new, replayed in parts * rules.epochs:
        x = np.concatenate([fresh[new], kept[replayed]])
        y = np.concatenate([labels[new], learner.memory_labels[replayed]])
        done = oracle_float.forward(cut, params, statistics, x, y, (r_max, d_max), center=center)
        gradients, _ = oracle_float.backward(done, params, y)
        params, momentum = oracle_float.sgd(
            params, gradients, momentum, rules.lr, rules.momentum, rules.l2
        )
        for name, moments in done.moments.items():
            for key, value in moments.items():
                old = statistics[name][key]
                statistics[name][key] = old + rules.update_rate * (value - old)
        r_max = min(r_max + rules.inc_step * len(y), rules.max_r_max)
        d_max = min(d_max + rules.inc_step * len(y), rules.max_d_max)
        if rules.center_share:
            mean = done.features.mean(axis=(0, 1, 2))
            is_first = learner.events == 0 and not losses
            share = 1.0 if is_first else rules.center_share
            center = (1 - share) * center + share * mean
        losses.append(done.loss)
    saved, past = consolidate(learner.saved, learner.past, params["head"], cur_j)
    changed = dataclasses.replace(
        learner,
        params=params,
        statistics=statistics,
        momentum=momentum,
        saved=saved,
        past=past,
        center=center,
        events=learner.events + 1,
    )
    return changed, losses, sorted({row for new, _ in parts for row in new})


def consolidate(saved, past, trained, cur_j):
    """CWR*, class by class."""
    saved, past = np.array(saved, np.float64), np.array(past, np.float64)
    trained = np.asarray(trained, np.float64)
    present = [c for c in range(past.size) if cur_j[c] > 0]
    mean = np.mean([trained[:, c] for c in present])
    for c in present:
        new_w = trained[:, c] - mean
        if past[c] == 0:
            saved[:, c] = new_w
        else:
            p = np.sqrt(past[c] / cur_j[c])
            saved[:, c] = (saved[:, c] * p + new_w) / (p + 1)
        past[c] += cur_j[c]
    return saved, past


def admitted(learner, slots, bits, codes, labels, used_rows, data, memory_labels, filled):
    """The learner with the memory after admission, once the result is seen to obey the rule.

    h = min(slots // (i + 1), latents used) distinct used latents, free slots first, all other slots
    as they were. Latents must differ after narrowing.
    """
    event, before = learner.events - 1, len(learner.codes)
    h = min(slots // (event + 1), len(used_rows))
    elements = learner.codes.shape[1]
    rows = np.asarray(data)
    if bits != FLOATS:
        rows = np.array([oracle.unpack(row, bits, elements) for row in rows], np.int64)
    new = {tuple(narrowed(codes[row].reshape(-1), bits)): row for row in used_rows}
    assert len(new) == len(used_rows), "the test's latents must differ"
    taken, changed = [], []
    for slot, row in enumerate(rows):
        key = tuple(row)
        if key in new:
            taken.append(new[key])
            changed.append(slot)
            assert memory_labels[slot] == labels[new[key]]
        elif slot < before:
            np.testing.assert_array_equal(row, learner.codes[slot])
            assert memory_labels[slot] == learner.memory_labels[slot]
        else:
            assert memory_labels[slot] == -1
    assert len(taken) == len(set(taken)) == h
    free = slots - before
    assert sum(slot >= before for slot in changed) == min(h, free)
    after = min(slots, before + h)
    assert filled == after
    return dataclasses.replace(
        learner,
        codes=rows[:after].reshape(after, elements),
        memory_labels=np.asarray(memory_labels[:after], np.int64),
    )
