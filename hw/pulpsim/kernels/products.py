"""Matrix products C[rows, m] of k terms: pointwise layers forward and backward, and their columns.

`p1_2x4` is the forward pass, `p3_2x4` (A stored [k, rows]) the input gradient, `p2_2x4` and
`p2a_2x4` (B stored [m, k]; the latter adds to C) the weight gradient. `c0_im2col` unfolds the input
of the first convolution, 27 words a pixel, for its FP32 products; it is a design without RTL rows.
"""

from collections.abc import Callable
from pathlib import Path

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
MATRICES: tuple[Argument, ...] = (
    Buffer("a", 0, lambda s: 4 * s.rows * s.k),
    Buffer("b", 1, lambda s: 4 * s.k * s.m),
    Buffer("c", 2, lambda s: 4 * s.rows * s.m),
    Scalar("rows", 3),
    Scalar("k", 4),
    Scalar("m", 5),
)


def product_shape(columns: int) -> Shape:
    """Shapes N x K x M with M a multiple of `columns`."""
    rule = Rule(lambda s: s.m % columns == 0, f"M to be a multiple of {columns}")
    return Shape("{rows}x{k}x{m}", "32x64x64 (N x K x M)", (rule,))


def _blocks(base: int, pair: int, block: int, tail_block: int) -> Callable[..., Spent]:
    def spent(n: Numbers, k: Numbers, m: Numbers) -> Spent:
        pairs, odd, blocks = n // 2, n - n // 2 * 2, m // 4
        instr = base + pairs * (pair + blocks * (block + 14 * k))
        instr = instr + odd * (2 + blocks * (tail_block + 9 * k))
        taken = pairs - odd + odd * 2 * (1 - some(pairs))
        return Spent(instr, taken, 0, RESTORES_RA)

    return spent


def _quads(n: Numbers, k: Numbers, m: Numbers) -> Spent:
    quads, rest, blocks = n // 4, n - n // 4 * 4, m // 4
    instr = 63 + quads * (12 + blocks * (52 + 24 * k))
    instr = instr + some(rest) * 6 + rest * (5 + blocks * (12 + 9 * k))
    taken = quads * (blocks - 1) + 1 + (1 - some(rest)) + rest - some(rest)
    return Spent(instr, taken, quads, RESTORES_RA)


def _columns(n: Numbers, taps: Numbers) -> Spent:
    return Spent(21 + n * (9 + 2 * taps), 0, LEAF)


def _product(
    name: str, spent: Callable[..., Spent], mix: Mix, competent: Mix | None = None
) -> Kernel:
    return Kernel(
        name,
        PROGRAM,
        product_shape(4),
        MATRICES,
        Work("rows", ("k", "m")),
        ClosedForm(spent, mix, competent),
        "32x64x32",
    )


_GRADIENT = Mix(8, 14, loads=(1,) * 6, fma=8)
# On a Cortex-M4F by its own programmer: blocks of 4x4, two terms of a sum an iteration, operands by
# VLDM along the terms (A, and B of the weight gradient) or along the columns.
_BLOCK = Mix(32, 56, loads=(2,) * 4 + (4,) * 2, fp=64, alu=2)
_BLOCK_GRADIENT = Mix(32, 56, loads=(2,) * 8, fp=64, alu=2)
_BLOCK_BACK = Mix(64, 112, loads=(4,) * 8, fp=128, alu=2)

KERNELS = (
    _product("p1_2x4", _blocks(50, 8, 21, 12), Mix(8, 14, (1, 1, 4), fma=8, alu=1), _BLOCK),
    _product("p2_2x4", _blocks(49, 8, 23, 14), _GRADIENT, _BLOCK_GRADIENT),
    _product("p2a_2x4", _blocks(49, 8, 23, 14), _GRADIENT, _BLOCK_GRADIENT),
    _product("p3_2x4", _blocks(50, 7, 20, 12), Mix(8, 14, (2, 4), fma=8, alu=2), _BLOCK_BACK),
    _product("p4_4x4", _quads, Mix(16, 24, (1, 1, 1, 1, 4), fma=16, alu=1), _BLOCK),
    Kernel(
        "c0_im2col",
        PROGRAM,
        # M pixels of an output row, from three padded input rows, stride 2.
        Shape("M{pixels}", "M16", derived={"taps": lambda s: 27}),
        (
            Buffer("x", 0, lambda s: 36 * (2 * s.pixels + 1)),
            Buffer("columns", 2, lambda s: 4 * 27 * s.pixels),
            Scalar("row", 3, lambda s: 3 * (2 * s.pixels + 1)),
            Scalar("pixels", 4),
        ),
        Work("pixels", ("taps",)),
        ClosedForm(_columns, Mix(9, 18, loads=(3, 3, 3), stores=(9,), alu=3)),
        "M32",
        measured=False,
    ),
)
