"""Named strategies: settings to start from, which flags and TOML files then change."""

import dataclasses

from qlrjax.settings import Settings
from qlrjax.streams.open import StreamSettings
from qlrjax.training.protocol import Protocol

# vlomonaco/ar1-pytorch at commit 813f977 with params.cfg: what the paper's accuracy builds on.
_FAITHFUL = Protocol(
    first_learning_rate=1e-3, learning_rate=5e-5, classifier="cwr*", drop_remainder=True
)

PRESETS: dict[str, Settings] = {
    "default": Settings(),
    "ar1star-free": Settings(replays=1500, latent_layer=20, protocol=_FAITHFUL),
    "ar1star": Settings(
        replays=1500,
        latent_layer=20,
        protocol=dataclasses.replace(_FAITHFUL, synaptic_strength=1e6),
    ),
    "cwrstar": Settings(replays=0, protocol=Protocol(classifier="cwr*", train_layers=False)),
    "fine-tuning": Settings(replays=0, protocol=Protocol(classifier="plain")),
    "native-rehearsal": Settings(latent_layer=0, frozen="float32"),
    "joint": Settings(replays=0, stream=StreamSettings(joint=True)),
}
"""What each is:

default: latent replay at the linear layer, learning rates for short streams of few images.
ar1star-free: ar1-pytorch's way to learn but for the Limits in docs/results.md (its layer 19 is 20
    here). What it learns from stays a setting: that code has bits = 32, frozen =
    "float32" and stream.reduced_test. "Free" of Synaptic Intelligence, which it leaves off.
ar1star: the same with Synaptic Intelligence, at the ewc_lambda of ar1-pytorch's params.cfg.
cwrstar: no replay, a consolidated head over frozen layers.
fine-tuning: no replay, one head.
native-rehearsal: images are replayed and every layer is trained.
joint: all events at once, the upper bound at the latent layer that is set.
"""


def preset(name: str) -> Settings:
    """Settings of a named strategy.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
