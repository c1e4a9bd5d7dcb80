"""Named strategies: settings to start from, which flags and TOML files then change."""

import dataclasses

from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

# vlomonaco/ar1-pytorch at commit 813f977 with params.cfg: what the paper's accuracy builds on.
_FAITHFUL = Protocol(
    first_learning_rate=1e-3,
    learning_rate=5e-5,
    classifier="cwr*",
    consolidation="entries",
    score_unseen=True,
    synaptic_rule="published",
    memory_grows=False,
    drop_remainder=True,
    pad_first=True,
    short_minibatches=True,
    renorm_overshoot=True,
    epsilon_in_std=False,
    center_momentum=0.0,
)

PRESETS: dict[str, Settings] = {
    "default": Settings(),
    "ar1star-free": Settings(replays=1500, latent_layer=20, protocol=_FAITHFUL),
    "ar1star": Settings(
        replays=1500,
        latent_layer=20,
        protocol=dataclasses.replace(_FAITHFUL, synaptic_strength=1e6),
    ),
    "cwrstar": Settings(
        replays=0, protocol=Protocol(classifier="cwr*", train_layers=False, center_momentum=0.0)
    ),
    "fine-tuning": Settings(replays=0, protocol=Protocol(classifier="plain", center_momentum=0.0)),
    "ncm-cosine": Settings(replays=0, protocol=Protocol(classifier="ncm-cosine")),
    "ncm-mahalanobis": Settings(replays=0, protocol=Protocol(classifier="ncm-mahalanobis")),
    "ncm-root": Settings(
        replays=0,
        protocol=Protocol(classifier="ncm-mahalanobis", shrinkage=0.4, feature_power=0.5),
    ),
    "native-rehearsal": Settings(latent_layer=0, frozen="float32"),
    "joint": Settings(replays=0, stream=StreamSettings(joint=True)),
}
"""What each is:

default: latent replay at the linear layer, one head on centered features, learning rates for
    short streams of few images.
ar1star-free: ar1-pytorch's way to learn, to the letter (its layer 19 is 20 here). What it learns
    from stays a setting: that code has bits = 32, frozen = "float32" and stream.reduced_test.
    "Free" of Synaptic Intelligence: reg_lambda = 0 in its params.cfg.
ar1star: the same with Synaptic Intelligence, whose weight earlier versions of that params.cfg had
    as ewc_lambda = 1e6.
cwrstar: no replay, a consolidated head over frozen layers.
fine-tuning: no replay, one head. Both are there to compare with, so features stay as they are.
ncm-cosine, ncm-mahalanobis: no replay and no gradients, the nearest class mean.
ncm-root: the second on square roots of features; its shrinkage was chosen on scenes50's sessions
    1, 2, 4, 5, 6 and 8.
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
