"""ResNet8 and DS-CNN of MLPerf Tiny from images to a learned, exported and costed network."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from pulpsim.event.event import event_cost_summary
from pulpsim.event.setting import EventSetting

from qlrjax import session
from qlrjax.integer import frozen
from qlrjax.settings import Settings
from qlrjax.streams import cut, synthetic
from qlrjax.training.protocol import Protocol


def stream(in_hw, channels):
    """Patterns of four classes, of one channel as MFCC features are, or of three."""
    images = synthetic.source(4, 4, 8, in_hw)
    some = dataclasses.replace(images, read=lambda rows: images.read(rows)[..., :channels])
    return cut.by_nicv2_rule(some, (4,), cut.Rule())


@pytest.mark.long
@pytest.mark.parametrize(
    ("weights", "latent_layer", "in_hw", "channels", "normalization"),
    [("resnet8", 8, (32, 32), 3, "renorm"), ("ds_cnn", 7, (49, 10), 1, "none")],
)
def test_latent_replay_export_and_cost(weights, latent_layer, in_hw, channels, normalization):
    pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")
    from support import onnx_runtime

    from qlrjax.export.onnx import exact

    settings = Settings(
        weights=weights,
        latent_layer=latent_layer,
        resolution=in_hw[0],
        replays=64,
        protocol=Protocol(minibatch=16, normalization=normalization),
        evaluate_every=10,
    )
    made = session.prepare(settings, stream=stream(in_hw, channels))
    records = [record for _, record in session.learn_all(made, session.start(made))]
    assert records[-1]["accuracy"] > 0.5  # four classes: chance is 0.25
    assert records[-1]["replays_filled"] == 64
    stage, images = made.extractor.quantized.stage, made.stream.source.read(np.arange(6))
    model = exact.export(stage, made.cut.image_shape).SerializeToString()
    codes = np.asarray(frozen.apply(stage, jnp.asarray(images)))
    np.testing.assert_array_equal(onnx_runtime.run(model, images), codes)
    event = EventSetting(made.cut.network, latent_layer, 64, images=8, minibatch=16)
    found = event_cost_summary(event)
    assert found.joules > 0
    assert found.fits_memory
