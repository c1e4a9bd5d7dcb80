"""Shapes of the kernels: a text such as `32x64x64` or `C16_10x10` to the sizes of a tile.

Texts are those of the RTL table. Each parser refuses shapes that a kernel's loops cannot run.
"""

import re
from collections.abc import Callable

from pulpsim.cluster.interpreter import PERIPHERALS
from pulpsim.cluster.l1 import Tile, float_bits


def _sizes(pattern: str, form: str, name: str, shape: str) -> list[int]:
    found = re.fullmatch(pattern, shape)
    if not found:
        raise ValueError(f"{name} takes a shape like {form}, not {shape!r}")
    sizes = [int(text) for text in found.groups()]
    if min(sizes) < 1:
        raise ValueError(f"sizes of {name} must be at least 1, not {shape!r}")
    return sizes


def _check(fine: bool, name: str, shape: str, rule: str) -> None:
    if not fine:
        raise ValueError(f"{name} needs {rule}; the shape {shape!r} breaks this")


def matmul(granularity: int, columns: int) -> Callable[[str, str], Tile]:
    """Shapes `NxKxM`: C[N, M] of K terms; M a multiple of `columns`."""

    def parse(name: str, shape: str) -> Tile:
        n, k, m = _sizes(r"(\d+)x(\d+)x(\d+)", "32x64x64 (N x K x M)", name, shape)
        _check(m % columns == 0, name, shape, f"M to be a multiple of {columns}")
        return Tile(
            n,
            granularity,
            n * k * m,
            {0: 4 * n * k, 1: 4 * k * m, 2: 4 * n * m},
            {3: n, 4: k, 5: m},
        )

    return parse


def integer_matmul(requantizes: bool) -> Callable[[str, str], Tile]:
    """Shapes `NxKxM`: N output channels, K input channels, M pixels; N and K multiples of 4."""

    def parse(name: str, shape: str) -> Tile:
        n, k, m = _sizes(r"(\d+)x(\d+)x(\d+)", "64x64x16 (N x K x M)", name, shape)
        _check(n % 4 == 0 and k % 4 == 0, name, shape, "N and K to be multiples of 4")
        buffers = {0: n * k, 1: m * k, 2: m * n}
        if not requantizes:
            return Tile(m, 2, n * k * m, {**buffers, 2: 4 * m * n}, {3: n, 4: k, 5: m})
        buffers.update({8: 4 * n, 9: 4 * n})
        return Tile(m, 1, n * k * m, buffers, {3: n, 4: k, 5: m, 10: 8})

    return parse


def _planes(name: str, shape: str) -> tuple[int, int, int]:
    channels, hin, win = _sizes(r"C(\d+)_(\d+)x(\d+)", "C16_10x10 (padded input)", name, shape)
    return channels, hin, win


def _depthwise(
    channels: int, hin: int, win: int, hout: int, wout: int, gradient: bool = False
) -> Tile:
    planes, weights, outputs = 4 * channels * hin * win, 36 * channels, 4 * channels * hout * wout
    return Tile(
        channels,
        1,
        9 * channels * hout * wout,
        {0: planes, 1: weights, 2: outputs},
        {3: hin, 4: win, 5: channels},
    )


def depthwise(rows: int, columns: int, square: bool = False) -> Callable[[str, str], Tile]:
    """Shapes `C16_10x10`, stride 1: at least `rows` x `columns` outputs."""

    def parse(name: str, shape: str) -> Tile:
        channels, hin, win = _planes(name, shape)
        _check(
            hin >= rows + 2 and win >= columns + 2, name, shape,
            f"an input of at least {rows + 2}x{columns + 2}",
        )  # fmt: skip
        _check(not square or hin == win, name, shape, "a square input")
        return _depthwise(channels, hin, win, hin - 2, win - 2)

    return parse


def depthwise_stride2(rows: int, columns: int) -> Callable[[str, str], Tile]:
    """Shapes `C16_9x9`, stride 2: odd sizes, at least `rows` x `columns` outputs."""

    def parse(name: str, shape: str) -> Tile:
        channels, hin, win = _planes(name, shape)
        _check(hin % 2 == 1 and win % 2 == 1, name, shape, "odd input sizes (2 * outputs + 1)")
        _check(
            hin // 2 >= rows and win // 2 >= columns, name, shape,
            f"an input of at least {2 * rows + 1}x{2 * columns + 1}",
        )  # fmt: skip
        return _depthwise(channels, hin, win, hin // 2, win // 2)

    return parse


def depthwise_back_stride2(name: str, shape: str) -> Tile:
    """Shapes `C16_4x4to8x8`: gradient of the output to gradient of the input, stride 2."""
    channels, ho, wo, hi, wi = _sizes(
        r"C(\d+)_(\d+)x(\d+)to(\d+)x(\d+)", "C16_4x4to8x8", name, shape
    )
    _check(hi == 2 * ho and wi == 2 * wo, name, shape, "an input twice the output")
    _check(wo >= 2, name, shape, "an output at least 2 wide")
    return Tile(
        channels,
        1,
        9 * channels * ho * wo,
        {0: 4 * channels * (ho + 1) * (wo + 1), 1: 36 * channels, 2: 4 * channels * hi * wi},
        {3: ho + 1, 4: wo + 1, 5: channels},
    )


def integer_depthwise(stride: int) -> Callable[[str, str], Tile]:
    """Shapes `C16_10x10`, padded input of bytes; at least 3 rows of outputs."""

    def parse(name: str, shape: str) -> Tile:
        channels, hin, win = _planes(name, shape)
        hout, wout = (hin - 3) // stride + 1, (win - 3) // stride + 1
        _check(hin >= 3 and win >= 3 and hout >= 3, name, shape, "at least 3 rows of outputs")
        _check(
            stride == 1 or (hin % 2 == 1 and win % 2 == 1), name, shape,
            "odd input sizes (2 * outputs + 1)",
        )  # fmt: skip
        return Tile(
            channels,
            1,
            9 * channels * hout * wout,
            {
                0: channels * hin * win + 4,
                1: 12 * channels,
                2: channels * hout * wout,
                8: 4 * channels,
                9: 4 * channels,
            },
            {3: hin, 4: win, 5: channels, 10: 8},
        )

    return parse


def first_convolution(name: str, shape: str) -> Tile:
    """Shapes `N32_17x17`: N output channels, padded input of 3 channels, stride 2."""
    n, hin, win = _sizes(r"N(\d+)_(\d+)x(\d+)", "N32_17x17 (padded input)", name, shape)
    hout, wout = (hin - 1) // 2, (win - 1) // 2
    _check(n % 4 == 0, name, shape, "N to be a multiple of 4")
    _check(hin >= 3 and win >= 3 and wout % 2 == 0, name, shape, "an even number of output columns")
    return Tile(
        hout,
        1,
        27 * n * hout * wout,
        {0: 28 * n, 1: 3 * hin * win + 4, 2: n * hout * wout, 8: 4 * n, 9: 4 * n, 11: 0},
        {3: n, 4: win, 5: wout, 10: 8},
        per_core={11: 68},
    )


def integer_pool(name: str, shape: str) -> Tile:
    """Shapes `C32_HW16`: planes of HW bytes to one byte per channel."""
    c, hw = _sizes(r"C(\d+)_HW(\d+)", "C32_HW16", name, shape)
    _check(hw % 4 == 0, name, shape, "HW to be a multiple of 4")
    buffers = {0: c * hw, 2: c, 8: 4 * c, 9: 4 * c}
    return Tile(c, 1, c * hw, buffers, {4: hw, 5: c, 10: 8})


def columns(name: str, shape: str) -> Tile:
    """Shapes `M16`: M pixels of an output row, from three padded input rows, stride 2."""
    (m,) = _sizes(r"M(\d+)", "M16", name, shape)
    row = 3 * (2 * m + 1)
    return Tile(m, 1, 27 * m, {0: 12 * row, 2: 4 * 27 * m}, {3: row, 4: m})


def linear(columns: bool) -> Callable[[str, str], Tile]:
    """Shapes `NxK`: N outputs, K inputs; split by rows, or by columns in fours."""

    def parse(name: str, shape: str) -> Tile:
        n, k = _sizes(r"(\d+)x(\d+)", "50x256 (N x K)", name, shape)
        even = 4 if columns else 2
        _check(k % even == 0, name, shape, f"K to be a multiple of {even}")
        first = {0: 4 * n * k, 1: 4 * n if columns else 4 * k, 2: 4 * k if columns else 4 * n}
        return Tile(k if columns else n, 4 if columns else 1, n * k, first, {3: n, 4: k})

    return parse


def linear_weights(name: str, shape: str) -> Tile:
    """Shapes `NxK` of the weight gradient of a linear layer; K even."""
    n, k = _sizes(r"(\d+)x(\d+)", "20x128 (N x K)", name, shape)
    _check(k % 2 == 0, name, shape, "K to be even")
    return Tile(n, 1, n * k, {0: 4 * n, 1: 4 * k, 2: 4 * n * k}, {3: n, 4: k})


def elements(
    granularity: int,
    divisor: int,
    buffers: dict[int, int | float],
    scalars: dict[int, float] | None = None,
) -> Callable[[str, str], Tile]:
    """Shapes `n1024`: buffers as argument word -> bytes per element."""

    def parse(name: str, shape: str) -> Tile:
        (n,) = _sizes(r"n(\d+)", "n1024", name, shape)
        _check(n % divisor == 0, name, shape, f"n to be a multiple of {divisor}")
        guard = 8 if name.startswith("e9_pck") else 0
        sizes = {word: int(per * n) + (guard if word == 2 else 0) for word, per in buffers.items()}
        words = {word: float_bits(value) for word, value in (scalars or {}).items()}
        return Tile(n, granularity, n, sizes, words)

    return parse


def softmax(name: str, shape: str) -> Tile:
    """Shapes `n10`: logits of one sample, on one core."""
    (n,) = _sizes(r"n(\d+)", "n10", name, shape)
    _check(n >= 2, name, shape, "at least 2 logits")
    return Tile(1, 1, n, {0: 4 * n, 1: 4, 2: 4 * n}, {3: 0, 4: n, 5: float_bits(1.0)}, cores=1)


def channels(
    planes: tuple[int, ...], vectors: tuple[int, ...], scalars: dict[int, float] | None = None
) -> Callable[[str, str], Tile]:
    """Shapes `C32_HW16`: planes of HW words and vectors of one word per channel."""

    def parse(name: str, shape: str) -> Tile:
        c, hw = _sizes(r"C(\d+)_HW(\d+)", "C32_HW16", name, shape)
        _check(hw % 4 == 0, name, shape, "HW to be a multiple of 4")
        words = sorted(planes + vectors)
        sizes = {word: 4 * c * (hw if word in planes else 1) for word in words}
        values = {word: float_bits(value) for word, value in (scalars or {}).items()}
        return Tile(c, 1, c * hw, sizes, {4: hw, 5: c, **values})

    return parse


def commands(name: str, shape: str) -> Tile:
    """Shapes `n4`: transfers to queue or offloads to hand over, by one core."""
    (n,) = _sizes(r"n(\d+)", "n4", name, shape)
    return Tile(n, 1, n, {0: 12 * n}, {8: PERIPHERALS}, cores=1)


def nothing(name: str, shape: str) -> Tile:
    """The empty program."""
    _check(shape == "-", name, shape, "the shape -")
    return Tile(0, 1, 0, {}, {})


SHAPES: dict[str, Callable[[str, str], Tile]] = {
    "k_empty": nothing,
    "p1_2x4": matmul(1, 4),
    "p2_2x4": matmul(1, 4),
    "p2a_2x4": matmul(1, 4),
    "p3_2x4": matmul(1, 4),
    "p4_4x4": matmul(1, 4),
    "xmm_naive": matmul(1, 1),
    "xmm_naive_T": matmul(1, 1),
    "xmm_2x4": matmul(2, 4),
    "xmm_i8_4x2": integer_matmul(False),
    "xdw_naive": depthwise(1, 1, square=True),
    "xdw_unroll": depthwise(1, 1),
    "d1_col": depthwise(3, 1),
    "d3_col": depthwise(3, 1),
    "d1s_s2": depthwise_stride2(1, 1),
    "d1s_col": depthwise_stride2(2, 1),
    "d2_wgrad": depthwise(1, 3),
    "d2a_wgrad": depthwise(1, 3),
    "d2s_wgrad": depthwise_stride2(1, 2),
    "d2sa_wgrad": depthwise_stride2(1, 2),
    "d3s_igrad": depthwise_back_stride2,
    "l1_fwd": linear(False),
    "l2_igrad": linear(True),
    "l3_wgrad": linear_weights,
    "l3a_wgrad": linear_weights,
    "e1_sgd": elements(2, 2, {0: 4, 1: 4, 2: 4}, {3: 0.5, 4: 0.25, 5: 0.125}),
    "e2_cvt": elements(4, 4, {0: 1, 2: 4}, {3: 0.0123}),
    "e2_trick": elements(4, 4, {0: 1, 2: 4}, {3: 0.0123}),
    "e3_fwd": elements(4, 4, {0: 4, 1: 1, 2: 4}),
    "e3_bwd": elements(4, 4, {0: 4, 1: 1, 2: 4}),
    "e10_relu6": elements(4, 4, {0: 4, 1: 1, 2: 4}),
    "e4_bn": channels((0, 2), (1, 3)),
    "e5_stat": channels((0,), (1, 2)),
    "e6a_bnsum": channels((0, 3), (1, 2)),
    "e6b_bnbwd": channels((0, 2, 3), (1, 8, 9), {10: 0.125}),
    "e7_gapf": channels((0,), (2,), {3: 0.125}),
    "e7_gapb": channels((2,), (0,), {3: 0.125}),
    "e8_smx": softmax,
    "e9_unp7": elements(8, 8, {0: 7 / 8, 2: 4}, {3: 0.0123}),
    "e9_unp6": elements(8, 8, {0: 6 / 8, 2: 4}, {3: 0.0123}),
    "e9_pck7": elements(8, 8, {0: 1, 2: 7 / 8}),
    "e9_pck6": elements(8, 8, {0: 1, 2: 6 / 8}),
    "i1_4x2": integer_matmul(True),
    "i2_dw": integer_depthwise(1),
    "i2s_dw": integer_depthwise(2),
    "i3_conv": first_convolution,
    "i4_pool": integer_pool,
    "c0_im2col": columns,
    "r_dma": commands,
    "r_fork": commands,
}


def tile(name: str, shape: str) -> Tile:
    """Sizes of a kernel's tile.

    Args:
        name: Kernel, a key of `SHAPES`.
        shape: As in the RTL table.

    Raises:
        ValueError: The kernel is unknown or cannot run this shape.
    """
    if name not in SHAPES:
        raise ValueError(f"there is no kernel {name!r}; choose one of {', '.join(sorted(SHAPES))}")
    return SHAPES[name](name, shape)
