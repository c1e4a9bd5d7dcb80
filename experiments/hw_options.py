"""The command line that experiments over latent layers share."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from pulpsim.event.setting import EventSetting

from qlrjax.network import mobilenet_v1


def parse(
    documentation: str | None, latent_layers: Iterable[int]
) -> tuple[list[EventSetting], Path]:
    """One event a latent layer, and the folder for the results.

    Args:
        documentation: Of the experiment; its first line explains it.
        latent_layers: What `--latent-layers` is without being given.
    """
    parser = argparse.ArgumentParser(description=(documentation or "").split("\n")[0])
    parser.add_argument("--statistics", choices=("minibatch", "running"), default="minibatch")
    parser.add_argument("--samples-per-pass", type=int, default=1)
    parser.add_argument("--latent-layers", type=int, nargs="+", default=list(latent_layers))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = [
        EventSetting(
            mobilenet_v1(),
            layer,
            statistics=arguments.statistics,
            samples_per_pass=arguments.samples_per_pass,
        )
        for layer in arguments.latent_layers
    ]
    return settings, arguments.out
