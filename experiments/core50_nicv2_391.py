"""CORe50 NICv2-391 with latent replays, on which the paper makes its accuracy claims.

Source: Ravaglia et al., JETCAS 2021; the protocol is that of vlomonaco/ar1-pytorch, commit 813f977
(preset ar1star-free). Its latent layer 19 is 20 here: the first trained layer.

Command (CORe50's core50_128x128 as folder or zip; run 0, reduced test set of 2,249 images):

    python experiments/core50_nicv2_391.py --data core50_128x128.zip --out runs/core50

Expected final accuracy, published for float32 by others: about 77 % with 1500 replays at l = 20
(ar1-pytorch's README), 63.6 % with 500 (its issue 6), 56 to 57 % without replays (AR1*, CWR*). The
paper says that 8-bit replays lose 0.26 points at 3000 replays and 7-bit ones up to 5.
Those used pytorchcv's 128-pixel weights; the built-in ones are TF-Slim's of 224 pixels.
Hours on 2 cores: about 4 for l = 20 with 1500 replays, minutes for l = 27.
Verified: not yet run on the full data. Tests run the official order of 391 events with generated
images on a small network (tests/session/test_nicv2_whole_run.py), and this file on a short stream.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from qlrjax import cli, files, presets, report
from qlrjax.cli.run import name_of
from qlrjax.runs import interrupt, run
from qlrjax.settings import Settings, StreamSettings


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--data-dir", default="", help="where the array of frames lies (8 GB)")
    parser.add_argument("--weights", default="builtin")
    parser.add_argument("--latent-layers", type=int, nargs="+", default=[20])
    parser.add_argument("--replays", type=int, nargs="+", default=[1500, 500, 0])
    parser.add_argument("--bits", type=int, nargs="+", default=[32, 8, 7, 6])
    parser.add_argument("--run", type=int, default=0)
    parser.add_argument("--full-test", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def settings_of(arguments: argparse.Namespace, layer: int, replays: int, bits: int) -> Settings:
    stream = StreamSettings(
        data=f"core50:{arguments.data}",
        data_dir=arguments.data_dir,
        order="nicv2_391",
        run=arguments.run,
        reduced_test=not arguments.full_test,
    )
    return dataclasses.replace(
        presets.preset("ar1star-free"),
        latent_layer=layer,
        replays=replays,
        bits=bits,
        frozen="float32" if bits == 32 else "int8",
        weights=arguments.weights,
        stream=stream,
        evaluate_every=10,
    )


def main() -> int:
    arguments = parse()
    rows, curves = [], []
    with interrupt.catch() as stop:
        for layer in arguments.latent_layers:
            for replays in arguments.replays:
                for bits in arguments.bits if replays else [32, 8]:
                    chosen = settings_of(arguments, layer, replays, bits)
                    folder = arguments.out / f"l{layer}-{replays}x{bits}"
                    outcome = run.run(
                        chosen,
                        folder,
                        stop=stop,
                        on_event=lambda record: print(json.dumps(record), flush=True),
                    )
                    if not outcome.finished:
                        return stop.exit_code
                    curve = outcome.curve(f"l = {layer}, {name_of(chosen)}")
                    curves.append(curve)
                    rows.append(
                        {"latent_layer": layer, "replays": replays, "bits": bits}
                        | report.summary_values(curve)
                    )
                    del outcome  # its latents and replays, before the next ones are made
    report.write_table(arguments.out, rows)
    files.write_atomic(arguments.out / "report.png", report.picture(curves[:4]))
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.answer("core50_nicv2_391", main))
