"""Depthwise 3x3 layers in FP32 on padded planes: forward and input gradient, strides 1 and 2.

Columns of outputs are walked downwards, three input rows in registers. `d1_col` and `d1s_col` are
the forward passes, `d3_col` and `d3s_igrad` the input gradients; `d1s_s2` is an earlier, slower
forward pass of stride 2.
"""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Argument, Buffer, Rule, Scalar, Shape, Sizes

PROGRAM = Path(__file__).with_suffix(".s")
PLANES, LIKE = "C{channels}_{hin}x{win}", "C16_10x10 (padded input)"
ODD = Rule(
    lambda s: s.hin % 2 == 1 and s.win % 2 == 1, "odd input sizes (2 * outputs + 1)"
)  # what stride 2 takes


def at_least(rows: int, columns: int) -> Rule:
    """Smallest padded input."""
    return Rule(
        lambda s: s.hin >= rows and s.win >= columns, f"an input of at least {rows}x{columns}"
    )


def arguments(outputs: Callable[[Sizes], int]) -> tuple[Argument, ...]:
    """Input planes, nine weights a channel and output planes of `outputs` words."""
    return (
        Buffer("x", 0, lambda s: 4 * s.channels * s.hin * s.win),
        Buffer("w", 1, lambda s: 36 * s.channels),
        Buffer("y", 2, lambda s: 4 * s.channels * outputs(s)),
        Scalar("hin", 3),
        Scalar("win", 4),
        Scalar("channels", 5),
    )


def taps(channels: Numbers, hin: Numbers, win: Numbers) -> Numbers:
    """MACs of stride 1."""
    return 9 * channels * (hin - 2) * (win - 2)


def taps_stride2(channels: Numbers, hin: Numbers, win: Numbers) -> Numbers:
    """MACs of stride 2."""
    return 9 * channels * (hin // 2) * (win // 2)


STRIDE1 = arguments(lambda s: (s.hin - 2) * (s.win - 2))
STRIDE2 = arguments(lambda s: (s.hin // 2) * (s.win // 2))


def windows(stride: int, least: tuple[int, int]) -> Work:
    """Channels over the cores; `least` rows and columns of the padded input."""
    amount = taps if stride == 1 else taps_stride2
    return Work("channels", ("hin", "win"), amount, least=least)


def _column_walk(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin - 2, win - 2
    rest = hout - hout // 3 * 3
    column = 12 + 13 * hout + 2 * ((rest + 1) // 2)
    taken = n - 1 + n * wout * (1 - rest // 2)
    return Spent(63 + n * (17 + wout * column), taken, 0, RESTORES_RA)


def _column_walk_stride2(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
    hout, wout = hin // 2, win // 2
    odd = hout - hout // 2 * 2
    taken = n - 1 + n * wout * (1 - odd)
    return Spent(59 + n * (17 + wout * (9 + 16 * hout)), taken, 0, RESTORES_RA)


def _input_gradient_stride2(n: Numbers, ho: Numbers, wo: Numbers) -> Spent:
    odd = wo - wo // 2 * 2
    taken = n - 1 + n * ho * (1 - odd)
    return Spent(57 + n * (13 + ho * (9 + 15 * wo)), taken, 0, RESTORES_RA)


_WALK = ClosedForm(
    _column_walk, Mix(9, 13, loads=(3,), stores=(1,), fma=8, fp=1, alu=2, loops=1 / 3)
)
_WALK2 = ClosedForm(
    _column_walk_stride2, Mix(9, 16, loads=(3, 3), stores=(1,), fma=8, fp=1, alu=3, loops=1 / 2)
)
_LEAST = (5, 3)  # three rows of outputs, or two by stride 2
_ONE, _TWO = (
    Shape(PLANES, LIKE, (at_least(*_LEAST),)),
    Shape(PLANES, LIKE, (ODD, at_least(*_LEAST))),
)

KERNELS = (
    Kernel("d1_col", PROGRAM, _ONE, STRIDE1, windows(1, _LEAST), _WALK, "C16_10x10"),
    Kernel("d3_col", PROGRAM, _ONE, STRIDE1, windows(1, _LEAST), _WALK, "C16_10x10"),
    Kernel(
        "d1s_s2",
        PROGRAM,
        Shape(PLANES, LIKE, (ODD, at_least(3, 3))),
        STRIDE2,
        windows(2, (3, 3)),
        reference="C16_9x9",
    ),
    Kernel("d1s_col", PROGRAM, _TWO, STRIDE2, windows(2, _LEAST), _WALK2, "C16_9x9"),
    Kernel(
        "d3s_igrad",
        PROGRAM,
        # Gradient of the output, one row and column of zeros more, to gradient of the input.
        Shape(
            "C{channels}_{ho}x{wo}to{hi}x{wi}",
            "C16_4x4to8x8",
            (
                Rule(lambda s: s.hi == 2 * s.ho and s.wi == 2 * s.wo, "an input twice the output"),
                Rule(lambda s: s.wo >= 2, "an output at least 2 wide"),
            ),
        ),
        (
            Buffer("dy", 0, lambda s: 4 * s.channels * (s.ho + 1) * (s.wo + 1)),
            Buffer("w", 1, lambda s: 36 * s.channels),
            Buffer("dx", 2, lambda s: 4 * s.channels * s.hi * s.wi),
            Scalar("rows", 3, lambda s: s.ho + 1),
            Scalar("columns", 4, lambda s: s.wo + 1),
            Scalar("channels", 5),
        ),
        Work(
            "channels",
            ("ho", "wo"),
            lambda channels, ho, wo: 9 * channels * ho * wo,
            least=(1, 2),
        ),
        ClosedForm(
            _input_gradient_stride2, Mix(9, 15, loads=(1, 1), stores=(2, 2), fma=5, fp=4, alu=2)
        ),
        "C16_4x4to8x8",
    ),
)
