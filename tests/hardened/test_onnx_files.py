"""ONNX files that nobody vouches for: a network, or one sentence, soon and in little memory."""

import io
import resource
import time
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra qlrjax[onnx]")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from qlrjax import weights  # noqa: E402


def plain():
    """Convolution, pooling, classifier."""
    generator = np.random.default_rng(5)
    shapes = {"kernel": (4, 3, 3, 3), "rows": (4, 3)}
    arrays = {name: generator.normal(0, 0.3, shape) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["a"], "conv", strides=[1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["b"], "pool"),
        helper.make_node("Flatten", ["b"], ["c"], "flat"),
        helper.make_node("MatMul", ["c", "rows"], ["y"], "dense"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ("n", 3, 9, 9))],
        [info("y", TensorProto.FLOAT, ("n", 3))],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def constants(model, **values):
    for name, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))


def first(model, *node, **attributes):
    model.graph.node.insert(0, helper.make_node(*node, "bomb", **attributes))


def filled(model):
    constants(model, shape=np.array([2**20, 2**20]))
    first(model, "ConstantOfShape", ["shape"], ["z"])


def ranged(model):
    constants(model, begin=0, end=10**12, step=1)
    first(model, "Range", ["begin", "end", "step"], ["z"])


def doubled(model):
    constants(model, seed=np.zeros(1000, np.float32))
    for turn in range(30):
        source = f"s{turn - 1}" if turn else "seed"
        node = helper.make_node("Concat", [source, source], [f"s{turn}"], axis=0)
        model.graph.node.insert(turn, node)


def endless(model):
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go"]), helper.make_node("Identity", ["i"], ["o"])],
        "body",
        [
            info("n", TensorProto.INT64, []),
            info("on", TensorProto.BOOL, []),
            info("i", TensorProto.FLOAT, [1]),
        ],
        [info("go", TensorProto.BOOL, []), info("o", TensorProto.FLOAT, [1])],
    )
    constants(model, turns=10**15, yes=True, value=np.zeros(1, np.float32))
    first(model, "Loop", ["turns", "yes", "value"], ["z"], body=body)
    model.graph.node[1].input[1] = "z"


def standing(model):
    model.graph.node[0].attribute[0].ints[:] = [0, 0]


def wide(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**9


def vast(model):
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 10**9


def many(model):
    for turn in range(25_000):
        model.graph.node.append(helper.make_node("Identity", [f"i{turn - 1}"], [f"i{turn}"]))
    model.graph.node[4].input[0] = "y"


def outside(model, place, shape=(4, 3, 3, 3)):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.dims[:] = shape
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)


HOSTILE = {
    "filled": (filled, "makes constants larger than weights are"),
    "ranged": (ranged, "makes constants larger than weights are"),
    "doubled": (doubled, "makes constants larger than weights are"),
    "endless": (endless, "node bomb (Loop) is no operator"),
    "standing": (standing, "holds what no exporter writes"),
    "wide": (wide, "does not say how many channels"),
    "vast": (vast, "which nothing takes"),
    "many": (many, "more than any network"),
    "passwd": (lambda model: outside(model, "/etc/passwd"), "/etc/passwd"),
    "above": (lambda model: outside(model, "../secret"), "outside the directory"),
    "link": (lambda model: outside(model, "link"), "symbolic link"),
    "sparse": (lambda model: outside(model, "sparse"), "larger than weights are"),
    "claims": (lambda model: outside(model, "small", (2**40, 3, 3, 3)), "has shape"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_soon_and_in_little_memory(tmp_path, refused, kind):
    change, said = HOSTILE[kind]
    (tmp_path / "secret").write_bytes(b"x" * 1000)
    place = tmp_path / "in"
    place.mkdir()
    (place / "link").symlink_to("/etc/passwd")
    (place / "small").write_bytes(b"x" * 1000)
    with (place / "sparse").open("wb") as file:
        file.truncate(2**36)
    model = plain()
    change(model)
    path = place / "x.onnx"
    path.write_bytes(model.SerializeToString())
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert said in refused("network", path)
    with pytest.raises(weights.WeightsError):
        weights.load(str(path), 3, 9)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # kB


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    broken = bytearray(data)
    for _ in range(int(generator.integers(1, 5))):
        place = int(generator.integers(len(broken)))
        if generator.random() < 0.7:
            broken[place] = int(generator.integers(256))
        else:
            del broken[place : place + int(generator.integers(1, 30))]
    return bytes(broken)


def rewired(data: bytes, generator: np.random.Generator) -> bytes:
    """Nodes with other inputs, operators and attributes than they had."""
    model = onnx.load_model_from_string(data)
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    node = graph.node[int(generator.integers(len(graph.node)))]
    match int(generator.integers(5)):
        case 0:
            node.input[int(generator.integers(len(node.input)))] = generator.choice(names)
        case 1:
            node.input.pop()
        case 2:
            node.op_type = generator.choice([other.op_type for other in graph.node])
        case 3:
            graph.output[0].name = generator.choice(names)
        case _:
            value = int(generator.choice([0, -1, 2**31, 2**62]))
            tensor = graph.initializer[int(generator.integers(len(graph.initializer)))]
            tensor.dims[int(generator.integers(len(tensor.dims)))] = value
    return model.SerializeToString()


def test_damaged_files_are_networks_or_a_sentence(tmp_path):
    data, path, outcomes = plain().SerializeToString(), tmp_path / "x.onnx", []
    for number in range(300):
        generator = np.random.default_rng(number)
        path.write_bytes((damaged if number % 2 else rewired)(data, generator))
        try:
            weights.load(str(path), 3, 9)
            outcomes.append("network")
        except weights.WeightsError:
            outcomes.append("refused")
    assert set(outcomes) == {"network", "refused"}


def test_a_sentence_shows_no_orders_to_the_terminal_and_ends(tmp_path, refused):
    model = plain()
    model.graph.node[0].name = "\x1b[2J" + "x" * 10**5
    model.graph.node[0].op_type = "Gelu"
    buffer = io.BytesIO()
    onnx.save(model, buffer)
    path = Path(tmp_path / "x.onnx")
    path.write_bytes(buffer.getvalue())
    said = refused("network", path)
    assert said.isprintable()
    assert len(said) < 3000
