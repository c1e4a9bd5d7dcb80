"""Random integer layers and inputs: useful ones, with outputs all over the codes, and extremes."""

import jax.numpy as jnp
import numpy as np

from qlrjax.integer.frozen import IntegerLayer

INT32 = np.iinfo(np.int32)
WORD_EDGES = np.array([INT32.min, INT32.min + 1, -1, 0, 1, INT32.max - 1, INT32.max], np.int32)


def random_arrays(random, kind, c_in, c_out, kernel=(3, 3), shift=16, bits=8, extreme=False):
    """weight, kappa, lam, pad_value as NumPy arrays."""
    shape = {
        "conv": (*kernel, c_in, c_out),
        "depthwise": (*kernel, c_out),
        "pool": (0,),
    }.get(kind, (c_in, c_out))
    if extreme:
        weight = random.choice(np.array([-128, -127, 0, 127], np.int8), shape)
        kappa, lam = random.choice(WORD_EDGES, (2, c_out))
        pad = random.choice(np.array([0, 1, 254, 255], np.uint8), c_in)
        return weight, kappa, lam, pad
    weight = random.integers(-128, 128, shape).astype(np.int8)
    fan_in = max(weight.size // c_out, 1)
    spread = 128 * 74 * np.sqrt(fan_in) if kind != "pool" else 255 * 9
    scale = 2.0**shift * (2**bits) / spread
    kappa = np.clip(np.rint(random.normal(0, scale, c_out)), INT32.min, INT32.max).astype(np.int32)
    lam = random.uniform(0, 2.0**shift * 2**bits, c_out)
    lam = np.clip(lam, INT32.min, INT32.max).astype(np.int32)
    pad = random.integers(0, 256, c_in).astype(np.uint8)
    return weight, kappa, lam, pad


def random_layer(
    random,
    kind,
    c_in,
    c_out,
    *,
    kernel=(3, 3),
    stride=1,
    padding=((0, 0), (0, 0)),
    shift=16,
    bits=8,
    extreme=False,
):
    """One `IntegerLayer`; geometry is ignored where the kind has none."""
    if kind in ("depthwise", "pool"):
        c_out = c_in
    arrays = random_arrays(random, kind, c_in, c_out, kernel, shift, bits, extreme)
    weight, kappa, lam, pad_value = map(jnp.asarray, arrays)
    if kind not in ("conv", "depthwise"):
        stride, padding = 1, ((0, 0), (0, 0))
    return IntegerLayer(weight, kappa, lam, pad_value, kind, stride, padding, shift, bits)


def random_images(random, shape, extreme=False):
    """uint8 of `shape`: uniform, or only 0 and 255."""
    if extreme:
        return random.choice(np.array([0, 255], np.uint8), shape)
    return random.integers(0, 256, shape).astype(np.uint8)


def random_stage(network, latent_layer, random, bits=8, extreme=False):
    """Random parameters below the cut of `network`; at the last layer, the pooling follows."""
    stage = []
    for layer in network.frozen(latent_layer):
        stage.append(
            random_layer(
                random,
                layer.kind,
                layer.in_channels,
                layer.out_channels,
                kernel=(layer.kernel, layer.kernel),
                stride=layer.stride,
                padding=layer.padding,
                shift=8 + (5 * layer.index) % 17,
                extreme=extreme,
            )
        )
    if latent_layer == network.last:
        pixels = network.pool_hw[0] * network.pool_hw[1]
        kappa = np.full(stage[-1].kappa.shape, round(2**16 / pixels), np.int32)
        stage.append(
            IntegerLayer(
                jnp.zeros(0, jnp.int8),
                jnp.asarray(kappa),
                jnp.zeros_like(jnp.asarray(kappa)),
                jnp.zeros(kappa.shape, jnp.uint8),
                "pool",
                shift=16,
                bits=8,
            )
        )
    if bits != 8 and stage:
        stage[-1] = stage[-1].replace(bits=bits)
    return tuple(stage)


def random_parameters(network, random):
    """Well-scaled float parameters of every layer, as `weights.load` gives them."""
    parameters = {}
    for layer in network.layers[:-1]:
        scale = np.sqrt(2 / layer.fan_in)
        c = layer.out_channels
        parameters[layer.name] = {
            "weight": random.normal(0, scale, layer.weight_shape),
            "gamma": random.uniform(0.5, 1.5, c) * random.choice([-1, 1], c),
            "beta": random.normal(0.2, 0.5, c),
            "mean": random.normal(0, 0.3, c),
            "variance": random.uniform(0.3, 2.0, c),
        }
    return parameters
