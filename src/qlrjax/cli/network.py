"""`qlrjax network`: where a network may be cut, and what stands on both sides of every cut."""

import dataclasses
import json as json_text
from collections.abc import Sequence
from typing import Any, Literal

import tyro

from qlrjax import weights
from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.names import printable
from qlrjax.network import Network
from qlrjax.training.protocol import check_bits, latent_bytes


@dataclasses.dataclass(frozen=True)
class Arguments:
    """List the cuts of a network: bytes of a latent, MACs and parameters on both sides.

    Attributes:
        weights: mobilenet_v1, mobilenet_v2:random:0, efficientnet_lite0, resnet8, ds_cnn, or a
            file; whatever `qlrjax run --weights` takes.
        resolution: Side of the images, pixels; without it, what the network was made for, or 128.
        classes: Logits of the classifier.
        bits: Width of a stored latent's codes, 1 to 8, or 32 for float32.
        by: Rows of the table: cuts, or layers.
        csv: Print CSV and nothing else.
        json: Print JSON and nothing else.
    """

    weights: tyro.conf.Positional[str]
    resolution: int | None = None
    classes: int = 50
    bits: int = 8
    by: Literal["cut", "layer"] = "cut"
    csv: bool = False
    json: bool = False


def main(words: Sequence[str]) -> int:
    """Shows the table and returns 0."""
    arguments = parse_arguments(Arguments, words, "qlrjax network")
    check_bits(arguments.bits)
    network = weights.outline(arguments.weights, arguments.classes, arguments.resolution)
    rows = cuts(network, arguments.bits) if arguments.by == "cut" else layers(network)
    if arguments.json:
        print(json_text.dumps(rows, indent=1))
    elif arguments.csv:
        print(show.csv_text(list(rows[0]), [list(row.values()) for row in rows]), end="")
    else:
        height, width, channels = network.in_shape
        title = (
            f"{network.name}: {height} x {width} x {channels} image, {network.macs:,} MAC, "
            f"{_parameters(network, 0, None):,} parameters"
        )
        _show(title, rows)
        if arguments.by == "cut":
            print("cut with: qlrjax run --cut NAME, or --latent-layer L")
    return 0


def cuts(network: Network, bits: int = 8) -> list[dict[str, Any]]:
    """A row a cut, from the image on; "above" is what is trained.

    Args:
        network: The graph.
        bits: Width of a stored latent's codes.
    """
    rows = []
    for latent_layer in network.latent_layers:
        below = network.frozen(latent_layer)
        macs = sum(layer.macs for layer in below)
        rows.append(
            {
                "after": network.cut_name(latent_layer),
                "latent_layer": latent_layer,
                "latent": " x ".join(map(str, network.latent_shape(latent_layer))),
                "latent_bytes": latent_bytes(network.latent_elements(latent_layer), bits),
                "macs_below": macs,
                "macs_above": network.macs - macs,
                "parameters_below": _parameters(network, 0, latent_layer),
                "parameters_above": _parameters(network, latent_layer, None),
            }
        )
    return rows


def layers(network: Network) -> list[dict[str, Any]]:
    """A row a layer, in topological order."""
    return [
        {
            "name": layer.name,
            "index": layer.index,
            "kind": layer.kind,
            "inputs": ", ".join(layer.inputs),
            "output": " x ".join(map(str, layer.out_shape)),
            "window": f"{layer.kernel_hw[0]} x {layer.kernel_hw[1]}",
            "stride": layer.stride,
            "activation": layer.activation,
            "macs": layer.macs,
            "parameters": layer.parameters,
        }
        for layer in network.layers
    ]


def _parameters(network: Network, start: int, stop: int | None) -> int:
    return sum(layer.parameters for layer in network.layers[start:stop])


_HEADS = {
    "latent_layer": "L",
    "latent_bytes": "bytes",
    "macs_below": "MAC below",
    "macs_above": "above",
    "parameters_below": "weights below",
    "parameters_above": "above",
    "activation": "then",
    "macs": "MAC",
    "parameters": "weights",
}


def _show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Columns as wide as they have to be: names are there to be copied, so none is cut off."""
    lines = [[_HEADS.get(name, name) for name in rows[0]]]
    lines += [[_short(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(title)
    for name, *others in lines:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print("  ".join([printable(name).ljust(widths[0]), *cells]))


def _short(value: object) -> str:
    """Large numbers in thousands and millions, so that a row fits a line."""
    if not isinstance(value, int):
        return str(value).replace(" x ", "x")
    if value < 10_000:
        return str(value)
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value / 1e3:.1f} k"
