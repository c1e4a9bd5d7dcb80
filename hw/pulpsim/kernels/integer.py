"""Integer inference with requantization in 32 bits: the programs that were measured.

Their bits are those of the contract only while kappa * acc + lambda stays in 32 bits. The stages
that `quantize` builds leave it, so `integer_wide` has the programs that are costed. The stride-2
depthwise kernel and the pooling are designs without RTL rows.
"""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels.depthwise import LIKE, ODD, PLANES, windows
from pulpsim.kernels.record import (
    LEAF,
    RESTORES_RA,
    ClosedForm,
    Kernel,
    Mix,
    Numbers,
    Spent,
    Work,
    some,
)
from pulpsim.kernels.shape import Argument, Buffer, Rule, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")
_SHIFT = Scalar("shift", 10, 8)
_PAIR = Mix(16, 7, loads=(4,), alu=16)


def _requantization(size: str) -> tuple[Argument, ...]:
    """Kappa and lambda, one word a channel each, and the shift."""
    return (
        Buffer("kappa", 8, lambda s: 4 * getattr(s, size)),
        Buffer("lam", 9, lambda s: 4 * getattr(s, size)),
        _SHIFT,
    )


def _pointwise(n: Numbers, k: Numbers, m: Numbers) -> Spent:
    pairs, odd, blocks, words = n // 2, n - n // 2 * 2, m // 4, k // 4
    instr = 54 + pairs * (10 + blocks * (63 + 14 * words))
    instr = instr + odd * (4 + blocks * (38 + 9 * words))
    taken = pairs - odd + odd * 2 * (1 - some(pairs))
    return Spent(instr, taken, 0, RESTORES_RA)


def _depthwise(stride: int) -> Callable[..., Spent]:
    def spent(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
        hout, wout = (hin - 3) // stride + 1, (win - 3) // stride + 1
        rest = hout - hout // 3 * 3
        # A column of inputs is read once, by stride 1 two words of it before the loop, else one.
        column = 9 - stride + (8 + stride) * hout + 2 * ((rest + 1) // 2)
        # Every byte address of a row occurs: three of four words are misaligned.
        misaligned = 0.75 * hin * wout
        taken = n - 1 + n * wout * (1 - rest // 2)
        instr = 64 + stride + n * (10 + wout * column)
        return Spent(instr, taken, 0, RESTORES_RA + n * misaligned)

    return spent


def _convolution(n: Numbers, channels: Numbers, wout: Numbers) -> Spent:
    pairs = -(-wout // 2)
    instr = 61 + n * (8 + pairs * (58 + channels // 4 * 161))
    stalls = n * (8 * pairs + 1) + 16 * pairs * n  # load-use, then misaligned words
    return Spent(instr, n * (pairs - 1) + n - 1, 0, RESTORES_RA + stalls)


def _pool(n: Numbers, hw: Numbers) -> Spent:
    # Four pixels a word, each used by the instruction behind its load; two loads feed the product.
    words = hw // 4
    return Spent(23 + n * (9 + 2 * words), 0, LEAF, n * (words + 1))


def _planes(name: str, stride: int, mix: Mix, reference: str) -> Kernel:
    derived = {
        "hout": lambda s: (s.hin - 3) // stride + 1,
        "wout": lambda s: (s.win - 3) // stride + 1,
    }
    enough = Rule(lambda s: s.hin >= 3 and s.win >= 3 and s.hout >= 3, "at least 3 rows of outputs")
    return Kernel(
        name,
        PROGRAM,
        Shape(PLANES, LIKE, (enough, ODD) if stride == 2 else (enough,), derived),
        (
            Buffer("x", 0, lambda s: s.channels * s.hin * s.win + 4),
            Buffer("w", 1, lambda s: 12 * s.channels),  # rows of three, and a zero
            Buffer("y", 2, lambda s: s.channels * s.hout * s.wout),
            *_requantization("channels"),
            Scalar("hin", 3),
            Scalar("win", 4),
            Scalar("channels", 5),
        ),
        windows(stride, (2 * stride + 3, 3)),
        ClosedForm(_depthwise(stride), mix),
        reference,
        measured=stride == 1,
    )


KERNELS = (
    Kernel(
        "i1_4x2",
        PROGRAM,
        Shape(
            "{n}x{k}x{pixels}",
            "64x64x16 (N x K x M)",
            (Rule(lambda s: s.n % 4 == 0 and s.k % 4 == 0, "N and K to be multiples of 4"),),
        ),
        (
            Buffer("w", 0, lambda s: s.n * s.k),
            Buffer("x", 1, lambda s: s.pixels * s.k),
            Buffer("y", 2, lambda s: s.pixels * s.n),
            *_requantization("n"),
            Scalar("n", 3),
            Scalar("k", 4),
            Scalar("pixels", 5),
        ),
        Work("pixels", ("k", "n")),
        ClosedForm(_pointwise, _PAIR),
        "32x64x32",
    ),
    _planes("i2_dw", 1, Mix(9, 9, loads=(3, 3), stores=(1,), alu=21, loops=1 / 3), "C16_10x10"),
    _planes("i2s_dw", 2, Mix(9, 10, loads=(6, 3), stores=(1,), alu=24, loops=1 / 3), "C16_9x9"),
    Kernel(
        "i3_conv",
        PROGRAM,
        # Padded input of 3 channels, stride 2; a core unfolds its rows in a buffer of its own.
        Shape(
            "N{n}_{hin}x{win}",
            "N32_17x17 (padded input)",
            (
                Rule(lambda s: s.n % 4 == 0, "N to be a multiple of 4"),
                Rule(
                    lambda s: s.hin >= 3 and s.win >= 3 and s.wout % 2 == 0,
                    "an even number of output columns",
                ),
            ),
            {"hout": lambda s: (s.hin - 1) // 2, "wout": lambda s: (s.win - 1) // 2},
        ),
        (
            Buffer("w", 0, lambda s: 28 * s.n),
            Buffer("x", 1, lambda s: 3 * s.hin * s.win + 4),
            Buffer("y", 2, lambda s: s.n * s.hout * s.wout),
            *_requantization("n"),
            Buffer("row", 11, lambda s: 0, per_core_bytes=68),
            Scalar("n", 3),
            Scalar("win", 4),
            Scalar("wout", 5),
        ),
        Work("hout", ("n", "wout"), lambda hout, n, wout: 27 * hout * n * wout),
        ClosedForm(_convolution, _PAIR),
        "N32_17x17",
    ),
    Kernel(
        "i4_pool",
        PROGRAM,
        Shape(
            "C{channels}_HW{hw}",
            "C32_HW16",
            (Rule(lambda s: s.hw % 4 == 0, "HW to be a multiple of 4"),),
        ),
        (
            Buffer("x", 0, lambda s: s.channels * s.hw),
            Buffer("y", 2, lambda s: s.channels),
            *_requantization("channels"),
            Scalar("hw", 4),
            Scalar("channels", 5),
        ),
        Work("channels", ("hw",)),
        ClosedForm(_pool, Mix(4, 2, loads=(1,), alu=4)),
        "C64_HW16",
        measured=False,
    ),
)
