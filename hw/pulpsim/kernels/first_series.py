"""The first measured series: the empty program, and products and depthwise layers without tricks.

They show what blocking is worth and validate the simulator; nothing is costed with them.
"""

from pathlib import Path

from pulpsim.kernels.depthwise import LIKE, PLANES, STRIDE1, at_least, windows
from pulpsim.kernels.products import MATRICES, product_shape
from pulpsim.kernels.record import Kernel, Work
from pulpsim.kernels.shape import Buffer, Rule, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")
_ROWS = Work("rows", ("k", "m"))
_SQUARE = Rule(lambda s: s.hin == s.win, "a square input")

KERNELS = (
    Kernel("k_empty", PROGRAM, Shape("-", "-", (), {"items": lambda s: 0}), (), Work("items")),
    Kernel("xmm_naive", PROGRAM, product_shape(1), MATRICES, _ROWS),
    Kernel("xmm_naive_T", PROGRAM, product_shape(1), MATRICES, _ROWS),
    Kernel("xmm_2x4", PROGRAM, product_shape(4), MATRICES, Work("rows", ("k", "m"), granularity=2)),
    Kernel(
        "xmm_i8_4x2",
        PROGRAM,
        Shape(
            "{n}x{k}x{pixels}",
            "64x64x16 (N x K x M)",
            (Rule(lambda s: s.n % 4 == 0 and s.k % 4 == 0, "N and K to be multiples of 4"),),
        ),
        (
            Buffer("w", 0, lambda s: s.n * s.k),
            Buffer("x", 1, lambda s: s.pixels * s.k),
            Buffer("y", 2, lambda s: 4 * s.pixels * s.n),
            Scalar("n", 3),
            Scalar("k", 4),
            Scalar("pixels", 5),
        ),
        Work("pixels", ("k", "n"), granularity=2),
    ),
    Kernel(
        "xdw_naive",
        PROGRAM,
        Shape(PLANES, LIKE, (at_least(3, 3), _SQUARE)),
        STRIDE1,
        windows(1, (3, 3)),
    ),
    Kernel(
        "xdw_unroll", PROGRAM, Shape(PLANES, LIKE, (at_least(3, 3),)), STRIDE1, windows(1, (3, 3))
    ),
)
