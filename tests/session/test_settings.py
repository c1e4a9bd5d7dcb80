"""Settings survive TOML, and what is wrong with them is named."""

import dataclasses
import json
import tomllib

import pytest

from qlrjax import settings
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

EVERYTHING = Settings(
    latent_layer=20,
    replays=1500,
    bits=7,
    frozen="float32",
    weights="random:3:0.25",
    resolution=64,
    seed=2**31 - 1,
    calibration_images=16,
    evaluate_every=5,
    checkpoint_every=2,
    stream=StreamSettings(
        data="synthetic:5x3x4",
        order="generated",
        run=9,
        first_classes=3,
        pairs_per_event=2,
        test_sessions=(3, 7),
        joint=True,
    ),
    protocol=Protocol(
        minibatch=21,
        learning_rate=1e-6,
        classifier="plain",
        momentum=0.0,
        normalization="batch",
        drop_remainder=True,
        synaptic_strength=2.5,
    ),
)


@pytest.mark.parametrize("one", [Settings(), EVERYTHING])
def test_toml_round_trip(one, tmp_path):
    text = settings.dump(one)
    assert settings.from_dict(tomllib.loads(text)) == one
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    assert settings.load(path) == one
    assert settings.from_dict(json.loads(json.dumps(settings.to_dict(one)))) == one


def test_every_setting_is_in_the_file():
    written = tomllib.loads(settings.dump(Settings()))
    for cls, table in (
        (Settings, written),
        (StreamSettings, written["stream"]),
        (Protocol, written["protocol"]),
    ):
        assert set(table) == {field.name for field in dataclasses.fields(cls)}


def test_an_empty_file_is_the_defaults():
    assert settings.from_dict({}) == Settings()


def test_a_whole_number_is_a_fine_float():
    assert settings.from_dict({"protocol": {"r_max": 2}}).protocol.r_max == 2.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent": 3}, "unknown setting 'latent'; known here: .*latent_layer"),
        ({"protocol": {"lr": 3}}, "unknown setting 'protocol.lr'"),
        ({"stream": {"path": ""}}, "unknown setting 'stream.path'"),
        ({"bits": "8"}, "setting 'bits' is '8'; it takes a value of type int"),
        ({"bits": 8.0}, "setting 'bits' is 8.0; it takes a value of type int"),
        ({"bits": True}, "setting 'bits' is True; it takes a value of type int"),
        ({"protocol": {"momentum": "0.9"}}, "setting 'protocol.momentum' is '0.9'"),
        ({"protocol": {"reshuffle": 1}}, "setting 'protocol.reshuffle' is 1"),
        ({"protocol": 3}, "setting 'protocol' is a table"),
        ({"frozen": "int4"}, "setting 'frozen' is 'int4'; choose one of"),
        ({"stream": {"order": "nicv2"}}, "setting 'stream.order' is 'nicv2'; choose one of"),
        ({"stream": {"test_sessions": ["3"]}}, "setting 'stream.test_sessions'"),
        ({"stream": {"test_sessions": 3}}, "setting 'stream.test_sessions' is 3"),
        ({"bits": 9}, "^9 bits"),
        ({"latent_layer": 28}, "latent layer 28 is out of range"),
        ({"latent_layer": -1}, "latent layer -1 is out of range"),
        ({"replays": -1}, "replays is -1"),
        ({"resolution": 0}, "resolution is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
        ({"stream": {"run": 10}}, "run is 10"),
        ({"stream": {"first_classes": 0}}, "first_classes is 0"),
        ({"protocol": {"learning_rate": 0.0}}, "learning_rate is 0.0"),
        ({"protocol": {"learning_rate": float("inf")}}, "learning_rate is inf"),
        ({"protocol": {"learning_rate": float("nan")}}, "learning_rate is nan"),
        ({"protocol": {"momentum": 1.5}}, "momentum is 1.5"),
        ({"protocol": {"r_max": 0.5}}, "r_max is 0.5"),
        ({"protocol": {"weight_decay": -1.0}}, "weight_decay is -1.0"),
        ({"protocol": {"minibatch": 0}}, "minibatch is 0"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        settings.from_dict(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"bits = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (None, "cannot be read"),
        (b"a = " + b"[" * 10**5, "is not TOML"),  # deeper than Python's stack
        (b"bits = 9", "9 bits"),
        (b"#" * 2**20 + b"#", "has 1048577 bytes"),
    ],
)
def test_files_that_cannot_be_read(content, message, tmp_path):
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        settings.load(path)
    assert str(path) in str(caught.value)
