"""The network: its table of layers, where it may be cut, and what each layer computes in floats."""

from qlrjax.network.cut import Cut
from qlrjax.network.table import (
    Activation,
    Kind,
    Layer,
    Network,
    Padding,
    PaddingConvention,
    mobilenet_v1,
)

__all__ = [
    "Activation",
    "Cut",
    "Kind",
    "Layer",
    "Network",
    "Padding",
    "PaddingConvention",
    "mobilenet_v1",
]
