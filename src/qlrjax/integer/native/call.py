"""The frozen stage as one call of the C kernel, with the bits of `frozen.apply`."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from qlrjax.integer.frozen import IntegerLayer, Stage
from qlrjax.integer.native import pack
from qlrjax.native import Library, load
from qlrjax.network import Padding

_TARGET = "qlrjax_frozen_stage"
LIBRARY = Library(
    package="qlrjax.integer.native",
    main="stage.c",
    targets=(_TARGET,),
    instructions=("plain C", "AVX2", "AVX-512 VNNI"),  # in the order of `pack`'s numbers
    variable="QLRJAX_FROZEN",
)


class Geometry(NamedTuple):
    """What a layer does to the size of its input."""

    kind: str
    kernel: tuple[int, int]
    stride: int
    padding: Padding
    channels: int


@flax.struct.dataclass
class NativeStage:
    """A stage as the C kernel takes it.

    Attributes:
        constants: See `pack`; for this process only.
        layers: How sizes change, layer by layer.
    """

    constants: UInt8[Array, " bytes"]
    layers: tuple[Geometry, ...] = flax.struct.field(pytree_node=False)


def prepare(stage: Stage, instructions: int | None = None) -> NativeStage | None:
    """A stage for the C kernel, or None where `frozen.apply` is to run it.

    Args:
        stage: A stage that satisfies the contract, with concrete arrays.
        instructions: PLAIN, AVX2 or AVX512_VNNI; without it, the widest of this machine.

    Raises:
        Unavailable: See `qlrjax.native.load`.
        ValueError: The machine lacks the instructions.
    """
    kernel = load(LIBRARY) if stage and pack.fits(stage) else None
    if kernel is None:
        return None
    chosen = kernel.instructions if instructions is None else instructions
    if chosen > kernel.instructions:
        raise ValueError(f"this processor has no {LIBRARY.instructions[chosen]}")
    return NativeStage(jnp.asarray(pack.pack(stage, chosen)), tuple(map(_geometry, stage)))


@jax.jit
def apply(stage: NativeStage, images: UInt8[Array, "n h w c"]) -> UInt8[Array, "n h2 w2 c2"]:
    """Runs uint8 images (NHWC) through all layers; the same bits as `frozen.apply`."""
    batch, height, width, channels = images.shape
    for layer in stage.layers:
        height, width = _output_hw(layer, height, width)
        channels = layer.channels
    latents = jax.ShapeDtypeStruct((batch, height, width, channels), jnp.uint8)
    call = jax.ffi.ffi_call(_TARGET, latents)
    return call(images, stage.constants)


def _geometry(layer: IntegerLayer) -> Geometry:
    windowed = layer.kind in ("conv", "depthwise")
    rows, columns = layer.weight.shape[:2] if windowed else (1, 1)
    return Geometry(layer.kind, (rows, columns), layer.stride, layer.padding, layer.kappa.shape[0])


def _output_hw(layer: Geometry, height: int, width: int) -> tuple[int, int]:
    if layer.kind == "pool":
        return (1, 1)
    (top, bottom), (left, right) = layer.padding
    rows, columns = layer.kernel
    return (
        (height + top + bottom - rows) // layer.stride + 1,
        (width + left + right - columns) // layer.stride + 1,
    )
