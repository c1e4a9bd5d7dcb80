"""Images to latents: the frozen stage in fixed-shape batches, integer or float."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, UInt8

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
    """

    cut: Cut
    quantized: QuantizedStage
    parameters: Parameters | None

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
        outputs, step = [], _BATCH if self._native is None else _NATIVE_STEP
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            padded = np.pad(batch, ((0, -len(batch) % step), (0, 0), (0, 0), (0, 0)))
            outputs.append(np.asarray(self._batch(jnp.asarray(padded)))[: len(batch)])
            if on_progress:
                on_progress(len(batch))
        return np.concatenate(outputs)

    @functools.cached_property
    def _native(self) -> native.NativeStage | None:
        """The integer stage for the C kernel, laid out at first use; None for pure JAX."""
        return native.prepare(self.quantized.stage)

    def _batch(self, images: UInt8[Array, "n h w channels"]) -> Array:
        if self._native is not None:
            return native.apply(self._native, images)
        if self.parameters is None:
            return _integer(self.quantized.stage, images)
        return _float(self.cut, self.parameters, images)


@jax.jit
def _integer(stage: frozen.Stage, images: UInt8[Array, "n h w channels"]) -> Array:
    return frozen.apply(stage, images)


@functools.partial(jax.jit, static_argnums=(0,))
def _float(cut: Cut, parameters: Parameters, images: UInt8[Array, "n h w channels"]) -> Array:
    return floating.infer(cut, parameters, images)[-1]
