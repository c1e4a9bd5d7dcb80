"""The frozen stage and the packed memory once more, in plain NumPy int64 and Python integers.

Nothing here calls qlrjax or shares its tricks: one loop over output pixels, 64-bit products and
packing through one big Python integer. Slow on purpose.
"""

import numpy as np


def accumulator(layer, x):
    """int64[n, h2, w2, cout] for uint8[n, h, w, cin]; `layer` has IntegerLayer's fields."""
    x = np.asarray(x).astype(np.int64)
    weight = np.asarray(layer.weight).astype(np.int64)
    if layer.kind == "pool":
        return x.sum(axis=(1, 2))[:, None, None, :]
    if layer.kind == "average_pool":
        weight = np.ones((*layer.window, x.shape[-1]), np.int64)
    if layer.kind == "max_pool":
        weight = np.zeros((*layer.window, x.shape[-1]), np.int64)
    if layer.kind in ("pointwise", "linear"):
        return np.einsum("nhwc,cd->nhwd", x, weight)
    (top, bottom), (left, right) = layer.padding
    batch, height, width, channels = x.shape
    padded = np.empty((batch, top + height + bottom, left + width + right, channels), np.int64)
    padded[:] = np.asarray(layer.pad_value).astype(np.int64)
    padded[:, top : top + height, left : left + width] = x
    rows, columns = weight.shape[:2]
    out_h = (padded.shape[1] - rows) // layer.stride + 1
    out_w = (padded.shape[2] - columns) // layer.stride + 1
    out = np.zeros((batch, out_h, out_w, weight.shape[-1]), np.int64)
    equation = "nijc,ijcd->nd" if layer.kind == "conv" else "nijc,ijc->nc"
    for row in range(out_h):
        for column in range(out_w):
            i, j = row * layer.stride, column * layer.stride
            window = padded[:, i : i + rows, j : j + columns]
            if layer.kind == "max_pool":
                out[:, row, column] = window.max(axis=(1, 2))
                continue
            out[:, row, column] = np.einsum(equation, window, weight)
    return out


def requantize(acc, kappa, lam, shift, bits):
    """uint8 codes: floor((kappa * acc + lam) / 2**shift), clipped to 0 .. 2**bits - 1."""
    value = np.asarray(kappa).astype(np.int64) * acc + np.asarray(lam).astype(np.int64)
    return np.clip(value // 2**shift, 0, 2**bits - 1).astype(np.uint8)


def apply_layer(layer, x, b=None):
    """uint8[n, h2, w2, cout] of one layer; `b` is an add's second input."""
    if layer.kind == "add":
        first = np.asarray(layer.kappa).astype(np.int64) * np.asarray(x).astype(np.int64)
        total = first + np.asarray(layer.kappa_b).astype(np.int64) * np.asarray(b).astype(np.int64)
        return requantize(total, 1, layer.lam, layer.shift, layer.bits)
    return requantize(accumulator(layer, x), layer.kappa, layer.lam, layer.shift, layer.bits)


def trace(stage, images):
    """Every layer's output."""
    outputs = {-1: images}
    for index, layer in enumerate(stage):
        taken = layer.inputs or (index - 1,)
        outputs[index] = apply_layer(layer, *(outputs[at] for at in taken))
    return [outputs[index] for index in range(len(stage))]


def apply(stage, images):
    """The last layer's output."""
    return trace(stage, images)[-1] if stage else np.asarray(images)


def pack(codes, bits):
    """uint8[ceil(n * bits / 8)] of uint8[n] codes: one little-endian integer of n * bits bits."""
    number = 0
    for index, code in enumerate(codes.tolist()):
        number |= code << (index * bits)
    return np.frombuffer(number.to_bytes(-(-len(codes) * bits // 8), "little"), np.uint8)


def unpack(packed, bits, elements):
    """Inverse of `pack`."""
    number = int.from_bytes(packed.tobytes(), "little")
    codes = [(number >> (index * bits)) & (2**bits - 1) for index in range(elements)]
    return np.array(codes, np.uint8)
