"""The manifest is read from untrusted bytes: everything crafted is refused in one sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlrjax.runs import manifest
from qlrjax.runs.leaves import Leaf
from qlrjax.runs.manifest import InvalidManifest, Manifest

GOOD = Manifest(
    step=12,
    settings={"bits": 7, "nested": {"a": [1, 2.5, None, "é"]}},
    statics={"memory/bits": 7},
    leaves={"w/0": Leaf((3, 4), "float32", 64 * "a"), "m": Leaf((), "bfloat16", 64 * "0")},
    files={"state/d/0a": manifest.File(10, 64 * "b")},
    fingerprint={"jax": "1"},
    extra={},
)


def changed(**values) -> bytes:
    content = json.loads(manifest.encode(GOOD))
    content.update(values)
    return json.dumps(content).encode()


def with_settings(settings) -> bytes:
    return changed(settings=settings, settings_sha256=manifest.settings_digest(settings))


def test_what_is_written_is_read():
    data = manifest.encode(GOOD)
    assert manifest.decode(data) == GOOD
    assert manifest.encode(manifest.decode(data)) == data


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"a":' * 200_000, "not JSON"),
        (b"[]", "not an object"),
        (b'{"step": 1, "step": 2}', "twice"),
        (b'{"step": NaN}', "NaN is not JSON"),
        (b'{"step": 1' + b"0" * 10_000 + b"}", "not JSON"),
        (b" " * (manifest.SIZE_LIMIT_BYTES + 1), "more than any real one"),
        (changed(more=1), "differ at"),
        (changed(step=-1), "step is not a whole number"),
        (changed(step=True), "step is not a whole number"),
        (changed(step=1.0), "step is not a whole number"),
        (changed(step=2**70), "step is not a whole number"),
        (changed(settings={"bits": 8}), "do not have the digest"),
        (with_settings(nested(40)), "nested more than"),
        (changed(settings=[1]), "settings is not an object"),
        (changed(extra=nested(40)), "nested more than"),
        (changed(leaves={"w": {"shape": [1]}}), "not a shape, a dtype and a digest"),
        (changed(leaves={"w": {"shape": "x", "dtype": "int8", "sha256": 64 * "a"}}), "leaf w"),
        (changed(leaves={"w": {"shape": [-1], "dtype": "int8", "sha256": 64 * "a"}}), "a side of"),
        (changed(leaves={"w": {"shape": [1] * 33, "dtype": "int8", "sha256": 64 * "a"}}), "32"),
        (changed(leaves={"w": {"shape": [1], "dtype": "object", "sha256": 64 * "a"}}), "type of"),
        (changed(leaves={"w": {"shape": [1], "dtype": "O,i4", "sha256": 64 * "a"}}), "type of"),
        (changed(leaves={"w": {"shape": [1], "dtype": "int9", "sha256": 64 * "a"}}), "type of"),
        (changed(leaves={"w": {"shape": [1], "dtype": "int8", "sha256": "A" * 64}}), "digest"),
        (changed(leaves={"w": {"shape": [1], "dtype": "int8", "sha256": 63 * "a"}}), "digest"),
        (changed(files={"a": {"bytes": -1, "sha256": 64 * "a"}}), "a file's size"),
        (changed(files={"a": {"bytes": 1}}), "not a size and a digest"),
        (changed(fingerprint={"jax": 1}), "not text"),
        (changed(extra={str(i): 0 for i in range(100_001)}), "at most"),
    ],
)
def test_crafted_manifests_are_refused(data, said):
    with pytest.raises(InvalidManifest, match=said):
        manifest.decode(data)


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/passwd",
        "a/../../b",
        "a//b",
        "a\\b",
        "",
        ".",
        "..",
        "a/.hidden",
        "a\0b",
        "C:/x",
        "/".join("abcdefghi"),
        "a" * 129,
        "a/",
        "~/x",
        "a\nb",
    ],
)
def test_paths_cannot_leave_the_checkpoint(path):
    with pytest.raises(InvalidManifest, match="not a path inside a checkpoint"):
        manifest.decode(changed(files={path: {"bytes": 1, "sha256": 64 * "a"}}))


@pytest.mark.parametrize("schema", [0, 3, "1", None, True, 1.0])
def test_other_formats_are_named(schema):
    with pytest.raises(manifest.UnknownSchema, match="this qlrjax reads format 2"):
        manifest.decode(changed(schema=schema))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(sorted(json.loads(manifest.encode(GOOD)))), JSON)
def test_any_json_in_any_place_is_read_or_refused(field, value):
    """Never another exception than the two that callers know."""
    try:
        data = changed(**{field: value})
    except (ValueError, UnicodeEncodeError):
        return
    try:
        read = manifest.decode(data)
    except (InvalidManifest, manifest.UnknownSchema):
        return
    assert isinstance(read, Manifest)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises((InvalidManifest, manifest.UnknownSchema)):
        manifest.decode(data)


def test_what_could_not_be_read_back_is_not_written():
    with pytest.raises(ValueError, match="nested more than"):
        manifest.encode(Manifest(1, nested(40), {}, {}, {}, {}, {}))
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.encode(Manifest(1, {"a": float("inf")}, {}, {}, {}, {}, {}))
