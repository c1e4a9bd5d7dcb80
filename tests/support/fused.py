"""Numbers that XLA's fusions for YNNPACK could spoil, against float64: a process for each flag.

python -m support.fused

Prints JSON: how far loss and gradients of a mini-batch of 128 at full width are from NumPy's (the
largest relative error of a tensor), and how many rows are wrong in what jax issue 39103 reports.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from support import cases, oracle_float

from qlrjax.native import load
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.training import adaptive, kernels, renorm

LIMITS = (1.25, 0.5)
SEED = 6
ROWS = 32_769


def step_errors(passes, latent_layer=25, batch=128, classes=50, seed=SEED):
    """Relative errors of loss, logits and gradients, largest first.

    Of four million activations, some seeds bring one so near 0 or 6 that FP32 and float64 disagree
    on its side, which costs 1e-3 whatever the flags; with this one none does.
    """
    random = np.random.default_rng(seed)
    network = mobilenet_v1(1.0, (128, 128), classes)
    cut = Cut(network, latent_layer)
    params, statistics = adaptive.init(cut, cases.random_parameters(network, random))
    params["head"] = jnp.asarray(random.normal(0, 0.1, params["head"].shape), jnp.float32)
    latents = np.maximum(random.uniform(-1, 4, (batch, *cut.latent_shape)), 0).astype(np.float32)
    labels = random.integers(0, classes, batch).astype(np.int32)

    def loss(params, latents):
        limits = renorm.RenormLimits(*map(jnp.float32, LIMITS))
        logits, _ = adaptive.forward(cut, params, statistics, latents, limits, None, passes)
        return adaptive.cross_entropy(logits, jnp.asarray(labels), jnp.ones(batch, bool)), logits

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, logits), gradients = run(params, jnp.asarray(latents))
    done = oracle_float.forward(cut, params, statistics, latents, labels, LIMITS)
    expected, _ = oracle_float.backward(done, params, labels, True)
    pairs = [(value, done.loss), (logits, done.logits)]
    pairs += zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True)
    return sorted((error(got, wanted) for got, wanted in pairs), reverse=True)


def error(got, wanted):
    wanted = np.asarray(wanted, np.float64)
    return float(np.linalg.norm(np.asarray(got, np.float64) - wanted) / np.linalg.norm(wanted))


def wrong_rows():
    """Of sum((eye @ row)**2), mapped over rows and jitted."""
    index = np.arange(ROWS, dtype=np.float32)
    rows = np.stack([index, 0 * index, 0 * index], axis=1)
    squares = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)
    wanted = index.astype(np.float64) ** 2
    return int((np.abs(np.asarray(squares, np.float64) - wanted) > 1e-5 * wanted).sum())


if __name__ == "__main__":
    found = {"step": step_errors(adaptive.Passes()), "wrong rows": wrong_rows()}
    if load(kernels.LIBRARY):
        found["with kernels"] = step_errors(adaptive.Passes(native=True))
    print(json.dumps(found))
