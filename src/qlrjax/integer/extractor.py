"""Images to latents: the frozen stage in fixed-shape batches, integer or float."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, UInt8

from qlrjax import devices
from qlrjax.integer import frozen, native
from qlrjax.integer.quantize import QuantizedStage
from qlrjax.network import Cut, floating
from qlrjax.network.floating import Parameters

_BATCH = 32
_NATIVE_STEP = 8  # what the last batch is padded to a multiple of, where a size costs little


@dataclasses.dataclass(frozen=True)
class Extractor:
    """The frozen stage of a session.

    Attributes:
        cut: The network and where it is cut.
        quantized: The integer stage and its ranges; its stage is empty where floats are used.
        parameters: Float parameters of the frozen layers, or None for the integer stage.
        mesh: Devices that share the images, see `devices`; None: one runs all.
    """

    cut: Cut
    quantized: QuantizedStage
    parameters: Parameters | None
    mesh: Mesh | None = None

    @property
    def latent_max(self) -> float:
        """a_max, the real value of the largest latent code."""
        return self.quantized.latent_max

    def __call__(
        self,
        images: UInt8[np.ndarray, "n h w channels"],
        on_progress: Callable[[int], None] | None = None,
    ) -> UInt8[np.ndarray, "n h2 w2 c"] | Float32[np.ndarray, "n h2 w2 c"]:
        """Latents of images: uint8 codes, or float32 from the float stage.

        Args:
            images: RGB, or of as many channels as the network takes, of the network's size.
            on_progress: Called with the number of images done since the last call.

        Raises:
            ValueError: The images do not fit the network.
        """
        expected = self.cut.image_shape
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(
                f"images are {images.dtype}{list(images.shape[1:])}; this network takes "
                f"uint8{list(expected)}"
            )
        if self.cut.latent_layer == 0:
            return images
        outputs, size = [], _BATCH * devices.count_of(self.mesh)
        step = size if self._native is None else _NATIVE_STEP
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            padded = np.pad(batch, ((0, -len(batch) % step), (0, 0), (0, 0), (0, 0)))
            shares = [np.asarray(share) for share in self._shares(padded)]
            outputs.append(np.concatenate(shares)[: len(batch)])
            if on_progress:
                on_progress(len(batch))
        return np.concatenate(outputs)

    @functools.cached_property
    def _native(self) -> native.NativeStage | None:
        """The integer stage for the C kernel, laid out at first use; None for pure JAX."""
        return native.prepare(self.quantized.stage) if self.mesh is None else None

    @functools.cached_property
    def _copies(self) -> list[tuple[frozen.Stage, Parameters | None]]:
        own = (self.quantized.stage, self.parameters)
        return [own] if self.mesh is None else devices.copies(self.mesh, own)

    def _shares(self, images: UInt8[np.ndarray, "n h w channels"]) -> list[Array]:
        """Latents of a batch, a share from every device; all compute at the same time."""
        if self._native is not None:
            return [native.apply(self._native, jnp.asarray(images))]
        shares = [jnp.asarray(images)] if self.mesh is None else devices.shares(self.mesh, images)
        return [self._pure(*copy, share) for copy, share in zip(self._copies, shares, strict=True)]

    def _pure(
        self,
        stage: frozen.Stage,
        parameters: Parameters | None,
        images: UInt8[Array, "n h w channels"],
    ) -> Array:
        if parameters is None:
            return _integer(stage, images)
        return _float(self.cut, parameters, images)


@jax.jit
def _integer(stage: frozen.Stage, images: UInt8[Array, "n h w channels"]) -> Array:
    return frozen.apply(stage, images)


@functools.partial(jax.jit, static_argnums=(0,))
def _float(cut: Cut, parameters: Parameters, images: UInt8[Array, "n h w channels"]) -> Array:
    return floating.infer(cut, parameters, images)[-1]
