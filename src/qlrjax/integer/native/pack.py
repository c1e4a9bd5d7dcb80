"""A frozen stage as one block of bytes that the C kernel reads: see `sources/layer.h`.

Weights lie in panels of 16 output channels, four inputs at a time, as the instructions of the
machine take them. vpmaddubsw (AVX2) adds the products of two neighbours in 16 bits and saturates;
`split` keeps such sums in range by giving a part of a large weight to an extra group of inputs, so
that results are exact for every input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qlrjax.integer.contract import accumulator_bound
from qlrjax.integer.frozen import IntegerLayer, Stage, is_chain

MAGIC = 0x514C5232
PANEL = 16
PLAIN, AVX2, AVX512_VNNI = range(3)
TAPS_MAX = 256

_KINDS = {"conv": 0, "depthwise": 1, "pointwise": 2, "linear": 2, "pool": 3}
_HEADER_BYTES, _LAYER_WORDS, _ALIGNMENT = 64, 20, 64
_PAIR_MAX = 128  # 255 * 128 is the largest multiple of 255 below 2**15
_AVX2_LANES = np.array([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])


class Split(NamedTuple):
    """Weights whose pairs cannot saturate, and what was taken off them, 8 channels at a time.

    Attributes:
        kept: int8[panels, quads, 16, 4].
        extra: int8[extras, 8, 4], in the order of panels and their halves.
        places: int32[extras], the first input of every extra group.
        counts: int32[2 * panels], extra groups of every half.
    """

    kept: np.ndarray
    extra: np.ndarray
    places: np.ndarray
    counts: np.ndarray


def fits(stage: Stage) -> bool:
    """Whether the kernel takes the stage: a chain of products without very large windows.

    Adds, windowed poolings and depthwise windows of more than 256 pixels are left to pure JAX.
    """
    return is_chain(stage) and not any(
        layer.kind not in _KINDS
        or (layer.kind == "depthwise" and layer.weight.shape[0] * layer.weight.shape[1] > TAPS_MAX)
        for layer in stage
    )


def pack(stage: Sequence[IntegerLayer], instructions: int) -> np.ndarray:
    """The constants of a stage: uint8[bytes].

    Args:
        stage: At least one layer; they satisfy the contract and `fits`, with concrete arrays.
        instructions: PLAIN, AVX2 or AVX512_VNNI; what the kernel will run on.
    """
    start = _HEADER_BYTES + 4 * _LAYER_WORDS * len(stage)
    words, sections, end = [], [], start
    for layer in stage:
        own = _sections(layer, instructions)
        offsets = []
        for section in own:
            end = -(-end // _ALIGNMENT) * _ALIGNMENT
            offsets.append(end)
            sections.append((end, section))
            end += section.nbytes
        words.append(_words(layer, offsets))
    constants = np.zeros(end + _ALIGNMENT, np.uint8)
    header = np.array([MAGIC, instructions, len(stage), constants.size], np.int32)
    constants[: header.nbytes] = header.view(np.uint8)
    table = np.array(words, np.int32).view(np.uint8).reshape(-1)
    constants[_HEADER_BYTES : _HEADER_BYTES + table.size] = table
    for offset, section in sections:
        constants[offset : offset + section.nbytes] = section.reshape(-1).view(np.uint8)
    return constants


def split(weight: np.ndarray) -> Split:
    """Splits int8[panels, quads, 16, 4] so that no pair of neighbours can saturate int16."""
    pairs = weight.astype(np.int32).reshape(*weight.shape[:3], 2, 2)
    kept = np.empty_like(pairs)
    for sign in (1, -1):
        part = np.maximum(sign * pairs, 0)
        first = np.minimum(part[..., 0], np.maximum(_PAIR_MAX - part[..., 1], _PAIR_MAX // 2))
        second = np.minimum(part[..., 1], _PAIR_MAX - first)
        kept = np.where(sign * pairs > 0, sign * np.stack([first, second], axis=-1), kept)
    kept = np.where(pairs == 0, 0, kept)
    panels, quads = weight.shape[:2]
    rest = (pairs - kept).reshape(panels, quads, 2, 8, 4).transpose(0, 2, 1, 3, 4)
    rest = rest.reshape(2 * panels, quads, 8, 4)
    half, quad = np.nonzero(rest.any(axis=(2, 3)))
    return Split(
        kept.reshape(weight.shape).astype(np.int8),
        rest[half, quad].astype(np.int8),
        (4 * quad).astype(np.int32),
        np.bincount(half, minlength=2 * panels).astype(np.int32),
    )


def _words(layer: IntegerLayer, offsets: Sequence[int]) -> list[int]:
    """The fields of `layer` in layer.h."""
    windowed = layer.kind in ("conv", "depthwise")
    rows, columns = layer.weight.shape[:2] if windowed else (1, 1)
    (top, bottom), (left, right) = layer.padding
    inputs = layer.pad_value.shape[0]
    quads = _quads(rows * columns * (inputs if layer.kind == "conv" else 1))
    if layer.kind == "depthwise":
        quads = -(-rows * columns // 2)
    elif layer.kind != "conv":
        quads = _quads(inputs)
    return [
        _KINDS[layer.kind],
        rows,
        columns,
        layer.stride,
        top,
        bottom,
        left,
        right,
        inputs,
        layer.kappa.shape[0],
        layer.shift,
        layer.bits,
        int(_is_wide(layer)),
        quads,
        *offsets,
        0,
        0,
    ]


def _sections(layer: IntegerLayer, instructions: int) -> list[np.ndarray]:
    """Weights, requantization, padding and the table of extra groups."""
    pad = np.zeros(_round_up(layer.pad_value.shape[0]) + PANEL, np.uint8)
    pad[: layer.pad_value.shape[0]] = np.asarray(layer.pad_value)
    none = np.zeros(0, np.int32)
    if layer.kind == "pool":
        return [none, _requantization(layer, PLAIN), pad, none]
    weight = np.asarray(layer.weight)
    if layer.kind == "depthwise":
        table = _requantization(layer, instructions)
        return [_depthwise(weight, instructions), table, pad, none]
    weight = weight.reshape(-1, weight.shape[-1])
    quads, panels = _quads(weight.shape[0]), _round_up(weight.shape[1]) // PANEL
    padded = np.zeros((4 * quads, panels * PANEL), np.int8)
    padded[: weight.shape[0], : weight.shape[1]] = weight
    table = _requantization(layer, instructions)
    if instructions == PLAIN:
        by_input = padded.reshape(-1, panels, PANEL).transpose(1, 0, 2)
        return [np.ascontiguousarray(by_input), table, pad, none]
    by_quad = padded.reshape(quads, 4, panels, PANEL).transpose(2, 0, 3, 1)
    if instructions == AVX512_VNNI:
        return [np.ascontiguousarray(by_quad), table, pad, none]
    parts = split(by_quad[:, :, _AVX2_LANES])
    first = np.cumsum(parts.counts) - parts.counts
    ranges = np.stack([first, parts.counts], axis=1).astype(np.int32)
    both = np.concatenate([parts.kept.reshape(-1), parts.extra.reshape(-1)])
    return [both, table, pad, np.concatenate([ranges.reshape(-1), parts.places])]


def _depthwise(weight: np.ndarray, instructions: int) -> np.ndarray:
    """int16, panel by panel: tap by tap for PLAIN, else pairs of taps of one lane."""
    taps, channels = weight.shape[0] * weight.shape[1], weight.shape[2]
    panels = _round_up(channels) // PANEL
    padded = np.zeros((2 * -(-taps // 2), panels * PANEL), np.int16)
    padded[:taps, :channels] = weight.reshape(taps, channels)
    by_panel = padded.reshape(-1, panels, PANEL).transpose(1, 0, 2)
    if instructions == PLAIN:
        return np.ascontiguousarray(by_panel)
    pairs = by_panel.reshape(panels, -1, 2, PANEL)
    if instructions == AVX2:
        pairs = pairs[..., _AVX2_LANES]
    return np.ascontiguousarray(pairs.transpose(0, 1, 3, 2))


def _requantization(layer: IntegerLayer, instructions: int) -> np.ndarray:
    """The records `quant` of layer.h: kappa lane by lane, lam even and odd lanes apart."""
    channels = layer.kappa.shape[0]
    kappa = np.zeros(_round_up(channels), np.int32)
    lam = np.zeros(_round_up(channels), np.int64)
    kappa[:channels], lam[:channels] = np.asarray(layer.kappa), np.asarray(layer.lam)
    kappa, lam = kappa.reshape(-1, PANEL), lam.reshape(-1, PANEL)
    width = {PLAIN: PANEL, AVX2: 8, AVX512_VNNI: 16}[instructions]
    if instructions == AVX2:
        kappa, lam = kappa[:, _AVX2_LANES], lam[:, _AVX2_LANES]
    if instructions != PLAIN:
        lam = lam.reshape(len(lam), -1, width // 2, 2).transpose(0, 1, 3, 2)
    record = np.dtype([("kappa", np.int32, PANEL), ("lam", np.int64, PANEL)])
    table = np.zeros(len(kappa), record)
    table["kappa"], table["lam"] = kappa, lam.reshape(-1, PANEL)
    return table.view(np.uint8)


def _is_wide(layer: IntegerLayer) -> bool:
    """Whether (kappa * acc + lam) >> shift can leave int32 for some input."""
    acc = accumulator_bound(layer) if layer.kind != "pool" else np.full(1, 2**31 - 1)
    kappa = np.abs(np.asarray(layer.kappa).astype(object))
    lam = np.abs(np.asarray(layer.lam).astype(object))
    return bool(max(kappa * acc + lam) >= 2 ** (31 + layer.shift))


def _quads(inputs: int) -> int:
    return -(-inputs // 4)


def _round_up(channels: int) -> int:
    return -(-channels // PANEL) * PANEL
