"""Values and requests of the kernels, against the programs carried out by the cores' arithmetic."""

import itertools
import re
import zlib

import numpy as np
import pytest
from pulpsim.cluster import l1
from pulpsim.cluster.assembler import assemble, program
from pulpsim.cluster.requests import requests
from pulpsim.kernels import KERNELS, find
from pulpsim.kernels.record import largest_share
from pulpsim.kernels.shape import Tile
from support.programs import carried_out
from support.values import graphs
from support.values.by_name import VALUES
from support.values.overlapping import OVERLAPPING
from support.values.tile_values import values

# Small tiles with odd shares on 8 cores, left-over rows, non-square planes.
SHAPES = {
    "p1_2x4": ["20x5x8", "7x3x4"],
    "p2_2x4": ["20x6x8"],
    "p2a_2x4": ["20x6x8"],
    "p3_2x4": ["20x5x8"],
    "p4_4x4": ["20x5x8", "40x3x4"],
    "xmm_naive": ["9x5x3"],
    "xmm_naive_T": ["9x5x3"],
    "xmm_2x4": ["16x5x8"],
    "xmm_i8_4x2": ["8x12x16"],
    "xdw_naive": ["C12_7x7"],
    "xdw_unroll": ["C12_6x9"],
    "d1_col": ["C10_7x9", "C3_6x5", "C9_8x4"],
    "d3_col": ["C10_7x9"],
    "d1s_s2": ["C10_9x7"],
    "d1s_col": ["C10_9x7", "C3_7x11"],
    "d2_wgrad": ["C10_6x9", "C3_5x7"],
    "d2a_wgrad": ["C10_6x9", "C3_5x6"],
    "d2s_wgrad": ["C10_9x7"],
    "d2sa_wgrad": ["C10_7x9"],
    "d3s_igrad": ["C10_3x4to6x8", "C3_2x5to4x10"],
    "l1_fwd": ["50x6", "35x10"],
    "l2_igrad": ["7x36"],
    "l3_wgrad": ["20x6"],
    "l3a_wgrad": ["35x6"],
    "e1_sgd": ["n100"],
    "e2_cvt": ["n100"],
    "e2_trick": ["n100"],
    "e3_fwd": ["n100"],
    "e3_bwd": ["n100"],
    "e10_relu6": ["n100"],
    "h1_up": ["n100"],
    "h1_down": ["n100"],
    "e9_unp7": ["n104"],
    "e9_unp6": ["n104"],
    "e9_pck7": ["n104"],
    "e9_pck6": ["n104"],
    "e4_bn": ["C10_HW8"],
    "e5_stat": ["C20_HW8"],
    "e6a_bnsum": ["C10_HW8"],
    "e6b_bnbwd": ["C10_HW8"],
    "e7_gapf": ["C20_HW8"],
    "e7_gapb": ["C20_HW8"],
    "e8_smx": ["n10", "n7"],
    "i1_4x2": ["12x8x15", "8x4x3"],
    "i2_dw": ["C10_7x9", "C3_5x4"],
    "i2s_dw": ["C10_7x9", "C3_11x5", "C2_9x7"],
    "i3_conv": ["N8_9x13"],
    "i4_pool": ["C10_HW8", "C3_HW12"],
    "c0_im2col": ["M20", "M5"],
    "i1w_4x2": ["12x8x15", "8x4x3"],
    "i2w_dw": ["C10_7x9", "C3_5x4"],
    "i2sw_dw": ["C10_7x9", "C3_11x5", "C2_9x7"],
    "i3w_conv": ["N8_9x13"],
    "i4w_pool": ["C10_HW8", "C3_HW12"],
    **{name: ["C10_6x9", "C3_5x5"] for name in ("d5_fwd", "d5_igrad", "d5a_wgrad", "i5w_dw")},
    **{name: ["C10_7x9", "C3_5x5"] for name in ("d5s_fwd", "d5s_igrad", "d5sa_wgrad", "i5sw_dw")},
    "i6_im2row": ["M11_R3x3_S3", "M7_R1x2_S16", "M5_R10x1_S2"],
    "i7w_add": ["C10_HW7"],
    "i8_max": ["M11_3x3s2_C8", "M5_2x2s2_C4"],
    "e11_add": ["n100"],
    **{f"e9_unp{bits}": ["n104"] for bits in range(1, 6)},
    **{f"e9_rnd{bits}": ["n104"] for bits in range(1, 7)},
}
WIDE = ("i1w_4x2", "i2w_dw", "i2sw_dw", "i3w_conv", "i4w_pool", "i5w_dw", "i5sw_dw", "i7w_add")
GRAPHS = {one.name for one in graphs.VALUES}
UNMEASURED = {
    *GRAPHS,
    "i2s_dw",
    "i4_pool",
    "c0_im2col",
    "h1_up",
    "h1_down",
    *WIDE,
    *(f"e9_unp{bits}" for bits in range(1, 6)),
    *(f"e9_rnd{bits}" for bits in range(1, 7)),
}
CASES = [(name, shape) for name, shapes in SHAPES.items() for shape in shapes]


def _random(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    if np.dtype(dtype) == np.float32:
        return rng.normal(0, 2, shape).astype(np.float32)
    low, high = {"uint8": (0, 256), "int8": (-128, 128), "int32": (1, 20), "uint16": (0, 31744)}[
        np.dtype(dtype).name
    ]
    return rng.integers(low, high, shape).astype(dtype)


def _inputs(name: str, tile: Tile) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    found = {
        one.name: _random(rng, one.dtype, one.shape(tile.sizes)) for one in VALUES[name].inputs
    }
    if name == "d3s_igrad":  # the caller's halo
        found["dy"][:, -1], found["dy"][:, :, -1] = 0, 0
    if name == "e3_bwd":
        found["mask"] %= 2
    if name in WIDE:  # multipliers that leave 32 bits
        found["kappa"] = rng.integers(-(2**24), 2**25, found["kappa"].shape).astype(np.int32)
        found["lam"] = rng.integers(-(2**31), 2**31, found["lam"].shape).astype(np.int32)
    if "_dw" in name and name[:2] == "i2":
        found["w"][:, 3::4] = 0
    if "_dw" in name and name[:2] == "i5":
        found["w"].reshape(-1, 5, 8)[:, :, 5:] = 0
    if name == "i7w_add":  # within 32 bits behind the shift
        for one in ("kappa", "kappa_b"):
            found[one] = rng.integers(-(2**22), 2**22, found[one].shape).astype(np.int32)
    if name in ("i3_conv", "i3w_conv"):
        found["w"][:, 27] = 0
    return found


def _carried_out(
    name: str, shape: str, inputs: dict[str, np.ndarray], cores: int
) -> dict[str, np.ndarray]:
    """Outputs of the programs, instruction by instruction."""
    sizes = find(name).tile(shape).sizes
    like = {one.name: np.zeros(one.shape(sizes), one.dtype) for one in VALUES[name].outputs}
    return carried_out(name, shape, cores, inputs, like)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_values_are_what_the_program_computes(name, shape):
    tile = find(name).tile(shape)
    cores = min(8, tile.cores)
    inputs = _inputs(name, tile)
    if name in OVERLAPPING:
        raw, inputs["x"] = OVERLAPPING[name](np.random.default_rng(5), tile)
        expected = _carried_out(name, shape, {**inputs, "x": raw}, cores)
    else:
        expected = _carried_out(name, shape, inputs, cores)
    found = values(VALUES[name], tile, inputs, cores)
    for argument, array in expected.items():
        value = np.asarray(found[argument])
        assert value.dtype == array.dtype
        if value.dtype == np.float32:
            np.testing.assert_allclose(value, array, rtol=2e-5, atol=2e-5)
        else:
            np.testing.assert_array_equal(value, array)


def test_values_do_not_depend_on_the_number_of_cores():
    tile = find("p1_2x4").tile("20x5x8")
    inputs = _inputs("p1_2x4", tile)
    plain = inputs["a"].astype(np.float64) @ inputs["b"].astype(np.float64)
    for cores in range(1, 10):
        found = values(VALUES["p1_2x4"], tile, inputs, cores)
        np.testing.assert_allclose(np.asarray(found["c"]), plain, rtol=1e-5, atol=1e-5)


def test_integers_are_those_of_numpy():
    tile = find("i1_4x2").tile("12x8x15")
    inputs = _inputs("i1_4x2", tile)
    acc = inputs["x"].astype(np.int64) @ inputs["w"].astype(np.int64).T
    plain = np.clip((acc * inputs["kappa"] + inputs["lam"]) >> tile.scalars["shift"], 0, 255)
    found = values(VALUES["i1_4x2"], tile, inputs, 8)
    np.testing.assert_array_equal(np.asarray(found["y"]), plain)


def test_values_name_a_wrong_input():
    tile = find("l1_fwd").tile("8x4")
    weights = np.zeros((8, 4), np.float32)
    with pytest.raises(ValueError, match=r"argument x of l1_fwd must be float32\[4\], not nothing"):
        values(VALUES["l1_fwd"], tile, {"w": weights}, 8)


def test_every_kernel_that_computes_has_values_and_is_tried():
    assert set(VALUES) == set(KERNELS) - {"k_empty", "r_dma", "r_fork"}
    assert set(SHAPES) == set(VALUES)


def test_every_program_of_the_package_belongs_to_a_record():
    for path in {kernel.program for kernel in KERNELS.values()}:
        mine = {kernel.name for kernel in KERNELS.values() if kernel.program == path}
        frame = (path.parent / "frame.s").read_text()
        text = path.read_text().replace('.include "frame.s"', frame)
        assert set(assemble(text)) == mine


@pytest.mark.parametrize("cores", [1, 3, 8, 9])
def test_shares_cover_every_item_once(cores):
    for items, granularity in [(20, 1), (64, 4), (7, 2), (1000, 8), (3, 1)]:
        ends = [l1.share(items, granularity, cores, core) for core in range(cores)]
        assert ends[0][0] == 0
        assert max(stop for _, stop in ends) == items
        assert all(first[1] == second[0] for first, second in itertools.pairwise(ends))


def test_requests_stay_inside_their_buffers():
    for name, shape in CASES:
        tile = find(name).tile(shape)
        cores = min(8, tile.cores)
        for core in range(cores):
            one = requests(name, shape, core, cores)
            used = one.addresses[one.addresses >= 0]
            assert used.min() >= l1.L1_BASE
            assert used.max() < l1.L1_BASE + l1.L1_BYTES
            assert (one.gaps >= 1).all()
            assert one.lead + one.gaps.sum() == one.alone.cycles


@pytest.mark.parametrize(
    ("name", "shape", "items", "dims"),
    [
        ("p1_2x4", "20x27x36", 20, (27, 36)),
        ("p4_4x4", "21x8x16", 21, (8, 16)),
        ("d1_col", "C10_7x9", 10, (7, 9)),
        ("d3s_igrad", "C10_3x4to6x8", 10, (3, 4)),
        ("l3a_wgrad", "35x100", 35, (100,)),
        ("i1_4x2", "12x36x25", 25, (36, 12)),
        ("e6b_bnbwd", "C10_HW16", 10, (16,)),
        ("i1w_4x2", "12x36x25", 25, (36, 12)),
        ("i2w_dw", "C16_10x10", 16, (10, 10)),
        ("i2sw_dw", "C16_9x9", 16, (9, 9)),
        ("i3w_conv", "N32_17x17", 8, (32, 8)),
        ("i4w_pool", "C20_HW16", 20, (16,)),
        ("e9_unp3", "n1024", 1024, ()),
        ("e9_unp5", "n1024", 1024, ()),
        ("e9_rnd1", "n1024", 1024, ()),
        ("e9_rnd3", "n1024", 1024, ()),
        ("e9_rnd6", "n1024", 1024, ()),
        ("i2s_dw", "C16_9x9", 16, (9, 9)),
        ("i4_pool", "C20_HW16", 20, (16,)),
        ("c0_im2col", "M20", 20, (27,)),
        ("d5_fwd", "C10_9x12", 10, (9, 12)),
        ("d5s_fwd", "C10_9x11", 10, (9, 11)),
        ("d5_igrad", "C10_9x12", 10, (9, 12)),
        ("d5s_igrad", "C3_9x11", 3, (9, 11)),
        ("d5a_wgrad", "C10_9x12", 10, (9, 12)),
        ("d5sa_wgrad", "C10_9x11", 10, (9, 11)),
        ("i5w_dw", "C16_12x12", 16, (12, 12)),
        ("i5sw_dw", "C16_11x11", 16, (11, 11)),
        ("i6_im2row", "M32_R3x12_S16", 32, (3, 12, 16)),
        ("i6_im2row", "M32_R3x3_S6", 32, (3, 3, 6)),
        ("i6_im2row", "M32_R10x2_S3", 32, (10, 2, 3)),
        ("i7w_add", "C20_HW10", 20, (10,)),
        ("i8_max", "M20_3x3s2_C16", 20, (3, 3, 16)),
        ("e11_add", "n1024", 1024, ()),
    ],
)
def test_closed_forms_are_those_of_the_program(name, shape, items, dims):
    alone = requests(name, shape, 0, 8).alone
    kernel = find(name)
    assert kernel.arguments_of(shape) == (items, dims)
    share = largest_share(items, 8, kernel.work.granularity)
    closed = kernel.closed_form.spent(share, *dims)
    assert (closed.instr, closed.taken) == (alone.instr, alone.taken_branches)
    assert kernel.tile_spent(items, dims, 8).cycles == alone.cycles


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("p9", "8x8x8", "there is no kernel 'p9'"),
        ("p1_2x4", "8x8", "p1_2x4 takes a shape like"),
        ("p1_2x4", "8x8x6", "M to be a multiple of 4"),
        ("p1_2x4", "8x0x8", "at least 1"),
        ("d1_col", "C4_4x9", "an input of at least 5x3"),
        ("d1s_col", "C4_8x9", "odd input sizes"),
        ("d3s_igrad", "C4_4x4to8x9", "an input twice the output"),
        ("d3s_igrad", "C4_4x1to8x2", "at least 2 wide"),
        ("e9_unp7", "n12", "n to be a multiple of 8"),
        ("i1_4x2", "6x8x8", "multiples of 4"),
        ("i3_conv", "N32_9x9x3", "takes a shape like"),
        ("xdw_naive", "C4_5x6", "a square input"),
    ],
)
def test_shapes_that_cannot_run_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        find(name).tile(shape)


def test_tiles_beyond_l1_are_refused():
    with pytest.raises(ValueError, match=r"the tile takes \d+ bytes but L1 has"):
        requests("p1_2x4", "256x256x256", 0, 8)


def test_the_assembler_names_a_line_that_it_cannot_read():
    with pytest.raises(ValueError, match="cannot assemble 'add a0,q1,a2': 'q1' is not"):
        assemble("kernel wrong\n    add a0,q1,a2")


def test_the_programs_are_those_that_were_measured(shared):
    """The same instructions as in the developers' text, which another notation writes out."""
    text = "\n".join(
        (shared / "reference" / name).read_text() for name in ("kernels.S", "extra_kernels.S")
    )
    measured = assemble(_as_our_notation(text))
    for name, kernel in KERNELS.items():
        if name in measured:
            assert program(kernel) == measured[name], name
    assert set(KERNELS) - set(measured) == UNMEASURED | {"r_dma", "r_fork"}
    assert {name for name in KERNELS if not find(name).measured} == UNMEASURED | {"r_dma", "r_fork"}


def _as_our_notation(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    lines = []
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if line.startswith((".text", ".option", ".align", ".globl")) or not line:
            continue
        named = re.match(r"(\\?[A-Za-z_]\w*):$", line)
        lines.append(f"kernel {named.group(1)}" if named else re.sub(r"\s+", " ", line))
    return "\n".join(lines)


def test_controllers_write_every_command():
    for name, registers in (("r_dma", 3), ("r_fork", 4)):
        short, long = (requests(name, f"n{count}", 0, 1).alone for count in (1, 5))
        per_command = (long.instr - short.instr) / 4
        assert per_command == 3 + registers + 2 + 2 * (name == "r_dma")
        assert long.taken_branches - short.taken_branches == 4
