"""What one core spends on its share of a tile without contention, in closed form.

For every kernel: instructions, taken branches, jumps and the other fixed cycles (restoring `ra`
before the return, misaligned words, load-use stalls). The forms are read off the loop structure of
the measured programs and hold exactly against the RTL's one-core rows; `pulpsim.kernels` issues the
same programs instruction by instruction and tests compare the two.

A share is `n` items (rows, channels, pixels, elements) of a tile; dims are whole numbers, given as
numbers or as arrays of floats (NumPy or JAX), so one form serves a single tile, an exhaustive
search and a traced sweep. Kernels marked `measured=False` are designs in the same style without
RTL rows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

Numbers = Any


@dataclasses.dataclass(frozen=True)
class Spent:
    """Of one core: instructions, taken branches, jumps, and other cycles that are not stalls."""

    instr: Numbers
    taken: Numbers = 0
    jumps: Numbers = 0
    other: Numbers = 0

    @property
    def cycles(self) -> Numbers:
        """Cycles without contention for banks and FPUs."""
        return self.instr + 2 * self.taken + self.jumps + self.other


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel's closed form.

    Attributes:
        spent: (n, *dims) -> Spent, n items in a core's share.
        items: Name of what is split over the cores.
        granularity: A share is a multiple of this.
        work: (items, *dims) -> MACs (or elements) of the whole tile.
        dims: Names of the dims.
        measured: Whether RTL rows exist.
    """

    spent: Callable[..., Spent]
    items: str
    granularity: int
    work: Callable[..., Numbers]
    dims: tuple[str, ...]
    measured: bool = True


_RA = 2  # the return behind a reload of ra costs two cycles that no counter shows
_TAIL = 1  # jump counter of a leaf kernel's entry


def _some(count: Numbers) -> Numbers:
    """1 where a whole number is positive, else 0."""
    return 1 - 1 // (1 + count)


def share(items: Numbers, cores: Numbers, granularity: int) -> Numbers:
    """Items of the first core, which has the largest share."""
    per_core = -(-items // cores)
    return -(-per_core // granularity) * granularity


def _matmul(base: int, pair: int, block: int, tail_block: int) -> Callable[..., Spent]:
    def spent(n: Numbers, k: Numbers, m: Numbers) -> Spent:
        pairs, odd, blocks = n // 2, n - n // 2 * 2, m // 4
        instr = base + pairs * (pair + blocks * (block + 14 * k))
        instr = instr + odd * (2 + blocks * (tail_block + 9 * k))
        taken = pairs - odd + odd * 2 * (1 - _some(pairs))
        return Spent(instr, taken, 0, _RA)

    return spent


def _p4(n: Numbers, k: Numbers, m: Numbers) -> Spent:
    quads, rest, blocks = n // 4, n - n // 4 * 4, m // 4
    instr = 63 + quads * (12 + blocks * (52 + 24 * k))
    instr = instr + _some(rest) * 6 + rest * (5 + blocks * (12 + 9 * k))
    taken = quads * (blocks - 1) + 1 + (1 - _some(rest)) + rest - _some(rest)
    return Spent(instr, taken, quads, _RA)


def _column_walk(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin - 2, win - 2
    rest = hout - hout // 3 * 3
    column = 12 + 13 * hout + 2 * ((rest + 1) // 2)
    taken = n - 1 + n * wout * (1 - rest // 2)
    return Spent(63 + n * (17 + wout * column), taken, 0, _RA)


def _column_walk_stride2(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin // 2, win // 2
    odd = hout - hout // 2 * 2
    return Spent(59 + n * (17 + wout * (9 + 16 * hout)), n - 1 + n * wout * (1 - odd), 0, _RA)


def _weight_gradient(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin - 2, win - 2
    rest = wout - wout // 3 * 3
    row = 13 + 13 * wout + 2 * ((rest + 1) // 2)
    return Spent(60 + n * (24 + hout * row), n - 1 + n * hout * (1 - rest // 2), 0, _RA)


def _weight_gradient_stride2(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin // 2, win // 2
    odd = wout - wout // 2 * 2
    return Spent(55 + n * (23 + hout * (10 + 16 * wout)), n - 1 + n * hout * (1 - odd), 0, _RA)


def _input_gradient_stride2(n: Numbers, ho: Numbers, wo: Numbers) -> Spent:
    odd = wo - wo // 2 * 2
    return Spent(57 + n * (13 + ho * (9 + 15 * wo)), n - 1 + n * ho * (1 - odd), 0, _RA)


def _linear_forward(n: Numbers, k: Numbers) -> Spent:
    groups, rest = n // 4, n - n // 4 * 4
    instr = 48 + _some(groups) + groups * (14 + 9 * k)
    instr = instr + _some(rest) * 2 + rest * (6 + 3 * k)
    return Spent(instr, (1 - _some(groups)) + (1 - _some(rest)), 0, _RA)


def _linear_input_gradient(n: Numbers, rows: Numbers) -> Spent:
    return Spent(46 + n // 4 * (12 + 9 * rows), 0, 0, _RA)


def _linear_weight_gradient(n: Numbers, k: Numbers) -> Spent:
    groups, rest = n // 4, n - n // 4 * 4
    instr = 49 + _some(groups) + groups * (11 + 13 * k) + _some(rest) + rest * (5 + 4 * k)
    return Spent(instr, (1 - _some(groups)) + (1 - _some(rest)), 0, _RA)


def _integer_pointwise(n: Numbers, k: Numbers, m: Numbers) -> Spent:
    pairs, odd, blocks, words = n // 2, n - n // 2 * 2, m // 4, k // 4
    instr = 54 + pairs * (10 + blocks * (63 + 14 * words))
    instr = instr + odd * (4 + blocks * (38 + 9 * words))
    taken = pairs - odd + odd * 2 * (1 - _some(pairs))
    return Spent(instr, taken, 0, _RA)


def _integer_depthwise(stride: int) -> Callable[..., Spent]:
    def spent(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
        hout, wout = (hin - 3) // stride + 1, (win - 3) // stride + 1
        rest = hout - hout // 3 * 3
        # A column of inputs is read once, by stride 1 two words of it before the loop, else one.
        column = 9 - stride + (8 + stride) * hout + 2 * ((rest + 1) // 2)
        # Every byte address of a row occurs: three of four words are misaligned.
        misaligned = 0.75 * hin * wout
        taken = n - 1 + n * wout * (1 - rest // 2)
        return Spent(64 + stride + n * (10 + wout * column), taken, 0, _RA + n * misaligned)

    return spent


def _integer_conv(n: Numbers, channels: Numbers, wout: Numbers) -> Spent:
    pairs = -(-wout // 2)
    instr = 61 + n * (8 + pairs * (58 + channels // 4 * 161))
    stalls = n * (8 * pairs + 1) + 16 * pairs * n  # load-use, then misaligned words
    return Spent(instr, n * (pairs - 1) + n - 1, 0, _RA + stalls)


def _integer_pool(n: Numbers, hw: Numbers) -> Spent:
    # Four pixels a word, each used by the instruction behind its load; two loads feed the product.
    words = hw // 4
    return Spent(23 + n * (9 + 2 * words), 0, _TAIL, n * (words + 1))


def _elements(base: int, per: int, step: int, misaligned: Numbers = 0.0) -> Callable[..., Spent]:
    def spent(n: Numbers) -> Spent:
        steps = -(-n // step)
        return Spent(base + per * steps, 0, _TAIL, misaligned * steps)

    return spent


def _channels(base: int, per_channel: int, per_pixel: Numbers) -> Callable[..., Spent]:
    def spent(n: Numbers, hw: Numbers) -> Spent:
        return Spent(base + n * (per_channel + per_pixel * hw), 0, _TAIL)

    return spent


def _sgd(n: Numbers) -> Spent:
    return Spent(47 + 8 * n, 0, 0, _RA)


def _softmax(n: Numbers) -> Spent:
    return Spent(127 + 23 * n, 1, 0, _RA)


def _product(*sizes: Numbers) -> Numbers:
    total: Numbers = 1
    for size in sizes:
        total = total * size
    return total


def _taps(channels: Numbers, hin: Numbers, win: Numbers) -> Numbers:
    return 9 * channels * (hin - 2) * (win - 2)


def _taps_stride2(channels: Numbers, hin: Numbers, win: Numbers) -> Numbers:
    return 9 * channels * (hin // 2) * (win // 2)


def _kernel(
    spent: Callable[..., Spent],
    items: str,
    dims: str = "",
    granularity: int = 1,
    work: Callable[..., Numbers] = _product,
    measured: bool = True,
) -> Kernel:
    return Kernel(spent, items, granularity, work, tuple(dims.split()), measured)


KERNELS: dict[str, Kernel] = {
    # Matrix products C[n, m] of n rows, m columns, k terms; the names are those of the RTL table.
    "p1_2x4": _kernel(_matmul(50, 8, 21, 12), "rows", "k m"),
    "p2_2x4": _kernel(_matmul(49, 8, 23, 14), "rows", "k m"),
    "p2a_2x4": _kernel(_matmul(49, 8, 23, 14), "rows", "k m"),
    "p3_2x4": _kernel(_matmul(50, 7, 20, 12), "rows", "k m"),
    "p4_4x4": _kernel(_p4, "rows", "k m"),
    # Depthwise 3x3 on padded planes.
    "d1_col": _kernel(_column_walk, "channels", "hin win", work=_taps),
    "d3_col": _kernel(_column_walk, "channels", "hin win", work=_taps),
    "d2a_wgrad": _kernel(_weight_gradient, "channels", "hin win", work=_taps),
    "d1s_col": _kernel(_column_walk_stride2, "channels", "hin win", work=_taps_stride2),
    "d2sa_wgrad": _kernel(_weight_gradient_stride2, "channels", "hin win", work=_taps_stride2),
    "d3s_igrad": _kernel(
        _input_gradient_stride2, "channels", "ho wo", work=lambda c, h, w: 9 * c * h * w
    ),
    # Linear layer, one sample.
    "l1_fwd": _kernel(_linear_forward, "rows", "k"),
    "l2_igrad": _kernel(_linear_input_gradient, "columns", "rows", 4),
    "l3a_wgrad": _kernel(_linear_weight_gradient, "rows", "k"),
    # Integer inference.
    "i1_4x2": _kernel(_integer_pointwise, "pixels", "k m"),
    "i2_dw": _kernel(_integer_depthwise(1), "channels", "hin win", work=_taps),
    "i2s_dw": _kernel(
        _integer_depthwise(2), "channels", "hin win", work=_taps_stride2, measured=False
    ),
    "i3_conv": _kernel(_integer_conv, "rows", "channels wout", work=lambda h, n, w: 27 * h * n * w),
    "i4_pool": _kernel(_integer_pool, "channels", "hw", measured=False),
    # Columns of the first convolution, 27 words a pixel, for its FP32 matrix products.
    "c0_im2col": _kernel(_channels(21, 9, 2), "pixels", "taps", measured=False),
    # Element by element, and per channel.
    "e1_sgd": _kernel(_sgd, "elements", granularity=2),
    "e2_trick": _kernel(_elements(17, 16, 4), "elements", granularity=4),
    "e3_fwd": _kernel(_elements(16, 20, 4), "elements", granularity=4),
    "e3_bwd": _kernel(_elements(16, 16, 4), "elements", granularity=4),
    "e10_relu6": _kernel(_elements(18, 28, 4), "elements", granularity=4),
    "e9_unp7": _kernel(_elements(20, 34, 8, 1.5), "elements", granularity=8),
    "e9_unp6": _kernel(_elements(20, 34, 8, 1.0), "elements", granularity=8),
    "e9_pck7": _kernel(_elements(19, 14, 8, 1.5), "elements", granularity=8),
    "e9_pck6": _kernel(_elements(19, 14, 8, 1.0), "elements", granularity=8),
    "e4_bn": _kernel(_channels(20, 5, 3), "channels", "hw"),
    "e5_stat": _kernel(_channels(18, 5, 3), "channels", "hw"),
    "e6a_bnsum": _kernel(_channels(20, 5, 4), "channels", "hw"),
    "e6b_bnbwd": _kernel(_channels(41, 9, 5), "channels", "hw"),
    "e7_gapf": _kernel(_channels(17, 6, 2), "channels", "hw"),
    "e7_gapb": _kernel(_channels(17, 6, 1), "channels", "hw"),
    "e8_smx": _kernel(_softmax, "logits"),
}


def tile_cycles(name: str, items: Numbers, dims: tuple[Numbers, ...], cores: Numbers) -> Numbers:
    """Cycles of the core with the largest share of a tile, without contention.

    Args:
        name: Key of `KERNELS`.
        items: What the tile has to split: rows, channels, pixels, elements.
        dims: The other sizes, in the order of `Kernel.dims`.
        cores: Workers; the softmax runs on one whatever is given.

    Raises:
        ValueError: The kernel is unknown.
    """
    return KERNELS[check_name(name)].spent(_first_share(name, items, cores), *dims).cycles


def tile_instructions(
    name: str, items: Numbers, dims: tuple[Numbers, ...], cores: Numbers
) -> Numbers:
    """Instructions of the core with the largest share of a tile; arguments as `tile_cycles`."""
    return KERNELS[check_name(name)].spent(_first_share(name, items, cores), *dims).instr


def tile_work(name: str, items: Numbers, dims: tuple[Numbers, ...]) -> Numbers:
    """MACs, or elements, of a whole tile; arguments as `tile_cycles`."""
    return KERNELS[check_name(name)].work(items, *dims)


def check_name(name: str) -> str:
    """Returns the name.

    Raises:
        ValueError: The kernel is unknown.
    """
    if name not in KERNELS:
        raise ValueError(f"there is no kernel {name!r}; choose one of {', '.join(sorted(KERNELS))}")
    return name


def _first_share(name: str, items: Numbers, cores: Numbers) -> Numbers:
    return share(items, 1 if name == "e8_smx" else cores, KERNELS[name].granularity)
