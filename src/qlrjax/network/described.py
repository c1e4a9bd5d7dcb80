"""A network as plain values for JSON, and back: what a run folder keeps of a graph."""

import dataclasses
from typing import Any, get_args

from qlrjax.network.build import Builder, Window
from qlrjax.network.table import Activation, Kind, Layer, Network, PaddingConvention

_CHOICES = {"kind": get_args(Kind), "activation": get_args(Activation)}


def to_values(network: Network) -> dict[str, Any]:
    """Every layer and convention but the number of classes."""
    return {
        "name": network.name,
        "width": network.width,
        "padding_convention": network.padding_convention,
        "bn_epsilon": network.bn_epsilon,
        "pixel_mean": list(network.pixel_mean),
        "pixel_std": list(network.pixel_std),
        "in_shape": list(network.in_shape),
        "layers": [_row(layer) for layer in network.layers[:-1]],
        "classifier": network.layers[-1].name,
    }


def from_values(values: dict[str, Any], classes: int) -> Network:
    """Inverse of `to_values`, for values that nobody vouches for.

    Raises:
        KeyError, TypeError, ValueError: They are not what `to_values` gives.
    """
    height, width, channels = (int(side) for side in values["in_shape"])
    convention = values["padding_convention"]
    if convention is not None and convention not in get_args(PaddingConvention):
        raise ValueError(f"padding convention {convention!r} is unknown")
    build = Builder((height, width, channels))
    for row in values["layers"]:
        for field, choices in _CHOICES.items():
            if row[field] not in choices:
                raise ValueError(f"{field} {row[field]!r} of layer {row['name']} is unknown")
        (top, bottom), (left, right) = row["padding"]
        kernel_h, kernel_w = row["kernel_hw"]
        build.append(
            str(row["name"]),
            row["kind"],
            int(row["out_channels"]),
            inputs=tuple(str(source) for source in row["inputs"]),
            window=Window((kernel_h, kernel_w), int(row["stride"]), ((top, bottom), (left, right))),
            activation=row["activation"],
            batch_norm=bool(row["batch_norm"]),
        )
    return build.finish(
        classes,
        str(values["classifier"]),
        bn_epsilon=float(values["bn_epsilon"]),
        pixel_mean=tuple(float(value) for value in values["pixel_mean"]),
        pixel_std=tuple(float(value) for value in values["pixel_std"]),
        name=str(values["name"]),
        width=float(values["width"]),
        padding_convention=convention,
    )


def _row(layer: Layer) -> dict[str, Any]:
    row = dataclasses.asdict(layer)
    for derived in ("index", "in_channels", "in_hw", "out_hw"):
        del row[derived]
    return row
