"""The integer stage against the NumPy int64 oracle, and the proof that it is integer only."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from support import cases, examples, oracle

from qlrjax.integer import frozen
from qlrjax.integer.contract import accumulator_bound, check_stage
from qlrjax.network import mobilenet_v1

KINDS = ["conv", "depthwise", "pointwise", "linear", "pool"]
side = st.integers(0, 2)


chains = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(KINDS),
            "c_out": st.sampled_from([1, 4, 7]),
            "kernel": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "stride": st.integers(1, 3),
            "padding": st.tuples(st.tuples(side, side), st.tuples(side, side)),
            "shift": st.integers(0, 31),
            "bits": st.integers(1, 8),
            "extreme": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
)


shapes = st.tuples(
    st.integers(1, 2), st.integers(3, 11), st.integers(3, 11), st.sampled_from([1, 3, 5])
)


@settings(max_examples=examples.at_least(12))
@given(chains, st.integers(0, 2**32 - 1), st.booleans(), shapes)
def test_random_stages_are_bit_equal(chain, seed, extreme, shape):
    random = np.random.default_rng(seed)
    images = cases.random_images(random, shape, extreme)
    stage, shapes = (), [shape[1:]]
    for spec in chain:
        layer = cases.random_layer(random, c_in=shapes[-1][-1], **spec)
        try:
            shapes = [shape[1:], *check_stage((*stage, layer), shape[1:])]
        except ValueError:  # the image got smaller than the kernel
            continue
        stage = (*stage, layer)
    got = jax.jit(frozen.trace)(stage, jnp.asarray(images))
    for one, other, expected in zip(got, oracle.trace(stage, images), shapes[1:], strict=True):
        assert one.dtype == jnp.uint8
        assert one.shape[1:] == expected
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_many_parameters_of_one_geometry(kind):
    """150 random parameter sets, non-square, strided, unevenly padded; a third of extremes."""
    random = np.random.default_rng(7)

    def one(extreme):
        layer = cases.random_layer(
            random, kind, 5, 6, stride=2, padding=((1, 0), (2, 1)), shift=11, extreme=extreme
        )
        return layer, cases.random_images(random, (1, 7, 4, 5), extreme)

    layers, images = zip(*(one(index % 3 == 0) for index in range(150)), strict=True)
    structure = jax.tree.structure(layers[0])
    stacked = [np.stack(leaves) for leaves in zip(*map(jax.tree.leaves, layers), strict=True)]

    def run(leaves, image):
        return frozen.apply_layer(jax.tree.unflatten(structure, leaves), image)

    got = jax.jit(jax.vmap(run))(stacked, jnp.asarray(np.stack(images)))
    expected = [oracle.apply_layer(*case) for case in zip(layers, images, strict=True)]
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulators_at_the_edge_of_int32(sign):
    """A pointwise layer whose accumulator reaches its bound, as close to 2**31 as int8 goes."""
    channels = 65_792 if sign < 0 else 66_310
    weight = np.full((channels, 1), -128 if sign < 0 else 127, np.int8)
    layer = frozen.IntegerLayer(
        jnp.asarray(weight),
        jnp.asarray([sign], jnp.int32),
        jnp.zeros(1, jnp.int32),
        jnp.zeros(channels, jnp.uint8),
        "pointwise",
        shift=23,
    )
    images = np.full((1, 1, 1, channels), 255, np.uint8)
    assert 2**31 - 2**17 < accumulator_bound(layer)[0] < 2**31
    acc, codes = jax.jit(lambda x: (frozen.accumulate(layer, x), frozen.apply_layer(layer, x)))(
        jnp.asarray(images)
    )
    assert acc.item() == sign * accumulator_bound(layer)
    np.testing.assert_array_equal(codes, oracle.apply_layer(layer, images))


TRACE = jax.jit(frozen.trace)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("convention", ["tensorflow", "pytorch"])
def test_mobilenet_is_bit_equal_at_every_layer(convention, extreme):
    random = np.random.default_rng(3)
    network = mobilenet_v1(0.25, (47, 33), padding_convention=convention)
    cut = network.last if convention == "tensorflow" else 6  # sizes and pads differ early
    stage = cases.random_stage(network, cut, random, extreme=extreme)
    images = cases.random_images(random, (2, 47, 33, 3), extreme)
    got = TRACE(stage, jnp.asarray(images))
    for one, other in zip(got, oracle.trace(stage, images), strict=True):
        np.testing.assert_array_equal(one, other)
    assert got[-1].shape == (2, *network.latent_shape(cut))


def test_an_empty_stage_gives_the_images():
    images = jnp.arange(12, dtype=jnp.uint8).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(frozen.apply((), images), images)


def equations(jaxpr):
    """Every equation of a jaxpr and of the jaxprs inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for parameter in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def full_stage_equations():
    network = mobilenet_v1(0.25, (45, 34))
    stage = cases.random_stage(network, network.last, np.random.default_rng(0), bits=6)
    images = jnp.zeros((1, 45, 34, 3), jnp.uint8)
    return list(equations(jax.make_jaxpr(jax.jit(frozen.apply))(stage, images).jaxpr))


def test_no_float_is_traced():
    found = full_stage_equations()
    assert len(found) > 500
    for equation in found:
        for variable in (*equation.invars, *equation.outvars):
            dtype = variable.aval.dtype
            assert jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_, equation


def test_dots_accumulate_in_int32_and_nothing_is_a_convolution():
    found = full_stage_equations()
    assert not [e for e in found if e.primitive.name == "conv_general_dilated"]
    dots = [e for e in found if e.primitive.name == "dot_general"]
    assert len(dots) == 14  # the first convolution and 13 pointwise layers
    assert {str(e.outvars[0].aval.dtype) for e in dots} == {"int32"}


def test_the_walk_sees_floats_in_nested_functions():
    """The proof above would be worthless if the walk missed inner jaxprs."""

    def body(carry, x):
        return carry + (x.astype(jnp.float32) * 0.5).astype(jnp.int32), x

    jaxpr = jax.make_jaxpr(lambda x: jax.jit(lambda y: jax.lax.scan(body, 0, y))(x))(
        jnp.arange(3, dtype=jnp.int32)
    )
    dtypes = {v.aval.dtype for e in equations(jaxpr.jaxpr) for v in e.outvars}
    assert np.dtype(np.float32) in dtypes


@pytest.mark.parametrize("mutant", ["round", "pad zero", "signed input", "bits"])
def test_the_oracle_notices(mutant):
    """Known wrong stages differ from the oracle, so agreement means something."""
    random = np.random.default_rng(5)
    layer = cases.random_layer(random, "conv", 3, 4, padding=((1, 1), (1, 1)), shift=12)
    images = cases.random_images(random, (1, 6, 5, 3))
    wrong = {
        "round": layer.replace(lam=layer.lam + 2**11),
        "pad zero": layer.replace(pad_value=jnp.zeros_like(layer.pad_value)),
        "signed input": layer,
        "bits": layer.replace(bits=7),
    }[mutant]
    given_images = images ^ np.uint8(128) if mutant == "signed input" else images
    got = jax.jit(frozen.apply_layer)(wrong, jnp.asarray(given_images))
    assert (np.asarray(got) != oracle.apply_layer(layer, images)).any()
