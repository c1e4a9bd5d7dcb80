"""`qlrjax network`, and cuts by name: figures against hand counts, refusals in one sentence."""

import csv
import io
import json

import pytest

from qlrjax import cli
from qlrjax.cli.run import parse


def answer(words, capsys):
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_cuts_of_resnet8_by_hand(capsys):
    code, out, _ = answer(
        ["network", "resnet8", "--classes", "10", "--bits", "6", "--json"], capsys
    )
    rows = json.loads(out)
    assert code == 0
    assert [row["after"] for row in rows] == ["images", "stem", "b0/add", "b1/add", "b2/add"]
    assert [row["latent_layer"] for row in rows] == [0, 1, 4, 8, 12]
    last = rows[-1]
    assert last["latent"] == "1 x 1 x 64"
    assert (last["latent_bytes"], last["macs_above"], last["parameters_above"]) == (48, 640, 640)
    stem = 32 * 32 * 16 * 27
    assert rows[1]["macs_below"] == stem
    assert {row["macs_below"] + row["macs_above"] for row in rows} == {12_501_632}


def test_a_table_of_layers_as_csv_and_of_cuts_for_people(capsys):
    code, out, _ = answer(["network", "ds_cnn", "--by", "layer", "--csv"], capsys)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) == 10
    assert (rows[0]["window"], rows[0]["output"]) == ("10 x 4", "25 x 5 x 64")
    code, out, _ = answer(["network", "mobilenet_v1", "--resolution", "96"], capsys)
    assert code == 0
    assert "104,325,632 MAC" in out
    assert "--cut NAME" in out
    assert "conv5_6/sep" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no weights file nowhere"),
        (["resnet8", "--bits", "9"], "9"),
        (["mobilenet_v2", "--resolution", "0"], "has no pixels"),
    ],
)
def test_what_is_no_network_is_said_in_one_sentence(words, message, capsys):
    code, out, err = answer(["network", *words], capsys)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_cut_by_name_is_a_latent_layer(tmp_path):
    words = ["--out", str(tmp_path), "--weights", "resnet8", "--resolution", "32"]
    assert parse([*words, "--cut", "b1/add"]).settings.latent_layer == 8
    assert parse([*words, "--cut", "images"]).settings.latent_layer == 0
    assert parse(["--out", str(tmp_path), "--cut", "conv5_1/sep"]).settings.latent_layer == 15


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cut", "b0/conv1"], "b0/add also takes the output of stem from below"),
        (["--cut", "nowhere"], "resnet8 has no layer 'nowhere' to cut after"),
        (["--latent-layer", "27"], "this network has layers 0 to 12"),
        (["--latent-layer", "2"], "cut at 1 (after stem) or 4 (after b0/add)"),
    ],
)
def test_other_cuts_are_refused_before_a_folder_is_made(words, message, tmp_path, capsys):
    out = tmp_path / "run"
    start = ["run", "--out", str(out), "--weights", "resnet8", "--resolution", "32"]
    code, _, err = answer([*start, *words], capsys)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not out.exists()
