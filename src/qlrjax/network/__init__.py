"""The network: its graph of layers, where it may be cut, and what each layer computes in floats."""

from qlrjax.network.cut import Cut
from qlrjax.network.mobilenet import efficientnet_lite0, mobilenet_v1, mobilenet_v2
from qlrjax.network.table import (
    IMAGES,
    Activation,
    Kind,
    Layer,
    Network,
    Padding,
    PaddingConvention,
)
from qlrjax.network.tiny import ds_cnn, resnet8

__all__ = [
    "IMAGES",
    "Activation",
    "Cut",
    "Kind",
    "Layer",
    "Network",
    "Padding",
    "PaddingConvention",
    "ds_cnn",
    "efficientnet_lite0",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet8",
]
