"""An ONNX file as plain data, and its constants computed, within bounds.

A file can say anything: that data lies in another file, that a constant of ten bytes is a tensor of
terabytes, that a loop runs for ever. So a file and what lies beside it are no larger than weights
are, and a constant is computed only by an operator that ends, and whose result's size is known
before.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_model
from onnx.reference import ReferenceEvaluator

from qlrjax import files
from qlrjax.weights.onnx_values import Refused, attributes_of, refusal
from qlrjax.weights.parameters import SIZE_LIMIT_BYTES, UNPACKED_LIMIT

Arrays = list[np.ndarray]
_NODES_AT_MOST = 20_000
_BYTES_EACH = 8  # of the widest number


def load(path: Path) -> ModelProto:
    """Reads a model, with the data that it keeps in files beside its own.

    Raises:
        ValueError: It is larger than weights are.
        OSError: It cannot be read, or is no plain file.
        google.protobuf.message.DecodeError: It is not ONNX.
        onnx.checker.ValidationError: It is, but inconsistent, or its data lies outside its folder.
    """
    model = onnx.load_model_from_string(files.read(path, SIZE_LIMIT_BYTES))
    tensors = [*model.graph.initializer, *_constants(model)]
    outside = [one for one in tensors if one.data_location == TensorProto.EXTERNAL]
    for tensor in outside:
        if _elements(tensor.dims) * _BYTES_EACH > UNPACKED_LIMIT:
            raise ValueError(f"tensor {tensor.name} has shape {list(tensor.dims)}")
        entries = {entry.key: entry.value for entry in tensor.external_data}
        # Without a length, all of the file from an offset on is read.
        place = path.parent / entries.get("location", "")
        if place.is_file() and place.stat().st_size > SIZE_LIMIT_BYTES:
            raise ValueError(f"its data in {place.name} is larger than weights are")
    if len(outside) > _NODES_AT_MOST:
        raise ValueError(f"it has {len(outside)} tensors in other files")
    if len(model.graph.node) > _NODES_AT_MOST:
        raise ValueError(f"it has {len(model.graph.node)} nodes, more than any network")
    load_external_data_for_model(model, str(path.absolute().parent))
    onnx.checker.check_model(model)
    return model


def fold(nodes: list[NodeProto], constants: dict[str, np.ndarray]) -> list[NodeProto]:
    """Computes what depends on constants only, into `constants`; returns the other nodes.

    Raises:
        Refused: A constant would be larger than weights are, or cannot be computed.
    """
    left, total = [], 0
    for node in nodes:
        size = _SIZES.get(node.op_type)
        known = all(name in constants or not name for name in node.input)
        if size is None or not known or len(node.output) != 1:
            left.append(node)
            continue
        inputs = [constants[name] for name in node.input if name]
        try:
            total += _BYTES_EACH * size(node, inputs)
            if total > UNPACKED_LIMIT:
                raise refusal(node, "makes constants larger than weights are")
            feeds = {name: constants[name] for name in node.input if name}
            (value,) = ReferenceEvaluator(node).run(None, feeds)
            constants[node.output[0]] = np.asarray(value)
        except Refused:
            raise
        except Exception as error:  # the evaluator raises whatever NumPy does, and more
            raise refusal(node, f"cannot be computed ({error})") from error
    return left


def _constants(model: ModelProto) -> list[TensorProto]:
    return [entry.t for node in model.graph.node for entry in node.attribute if entry.HasField("t")]


def _elements(shape: object) -> int:
    sides = [int(side) for side in np.asarray(shape).reshape(-1)]
    if any(side < 0 for side in sides):
        raise ValueError(f"a shape is {sides[:10]}")
    return math.prod(sides)


def _sum(node: NodeProto, inputs: Arrays) -> int:
    """Elements of an operator that gives at most what it takes."""
    del node
    return sum(array.size for array in inputs)


def _broadcast(node: NodeProto, inputs: Arrays) -> int:
    del node
    return math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))


def _expanded(node: NodeProto, inputs: Arrays) -> int:
    del node
    return _elements(inputs[1]) * max(inputs[0].size, 1)


def _filled(node: NodeProto, inputs: Arrays) -> int:
    del node
    return _elements(inputs[0])


def _gathered(node: NodeProto, inputs: Arrays) -> int:
    axis = attributes_of(node).get("axis", 0)
    return inputs[0].size // max(inputs[0].shape[axis], 1) * inputs[1].size


def _stepped(node: NodeProto, inputs: Arrays) -> int:
    del node
    start, stop, step = (float(array.reshape(())) for array in inputs)
    return max(math.ceil((stop - start) / step), 0)


def _said(node: NodeProto, inputs: Arrays) -> int:
    """Elements of a Constant, which are in the file."""
    del inputs
    value = attributes_of(node).get("value")
    return _elements(value.dims) if value is not None else node.ByteSize()


_ALIKE = (
    *("Cast", "Concat", "Flatten", "Floor", "Identity", "Neg", "Reciprocal", "ReduceProd", "Shape"),
    *("Reshape", "Slice", "Sqrt", "Squeeze", "Transpose", "Unsqueeze"),
)
_SIZES: dict[str, Callable[[NodeProto, Arrays], int]] = {
    **dict.fromkeys(_ALIKE, _sum),
    **dict.fromkeys(("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"), _broadcast),
    "Constant": _said,
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Gather": _gathered,
    "Range": _stepped,
}
