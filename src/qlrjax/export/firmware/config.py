"""qlr_config.h: every size and setting of the firmware as a macro."""

import hashlib

import numpy as np

from qlrjax.export.firmware import text
from qlrjax.export.firmware.planner import Plan, walk_floats
from qlrjax.export.firmware.session import FirmwareSession
from qlrjax.export.firmware.shape import Shape, keeps_momentum, round_up
from qlrjax.integer import latent_codes
from qlrjax.training.protocol import Protocol

Macros = dict[str, object]

_NORMALIZATIONS = {"running": 0, "batch": 1, "renorm": 2, "none": 3}
_SYMBOLS = {
    "STATE": "qlr_state",
    "REPLAYS": "qlr_replays",
    "EVENT": "qlr_event",
    "LATENT": "qlr_latent",
    "ARENA": "qlr_arena",
    "TABLES": "tables",
    "FIRST_LAYERS": "first_layers",
}


def config(session: FirmwareSession, shape: Shape, plan: Plan, tables: str) -> str:
    """Text of qlr_config.h; `tables` is the text of qlr_tables.c, whose hash names the firmware."""
    cut = session.learner.cut
    groups = {
        "The image, and the integer layers that turn it into a latent": _image(session, shape),
        "Latents and the replay memory; STEP is what a code is worth, MIN is code 0": _latent(
            session, shape
        ),
        "The trained layers and the classifier": _layers(session, shape),
        "How an event is learned": _protocol(session.learner.protocol, session, shape),
        "The planner's choice: what is kept, and sizes in floats": _choice(shape, plan),
        "Where qlr_init begins, and what a saved state is known by": {
            "FIRST_EVENT": int(session.state.event),
            "FIRST_FILLED": int(session.state.memory.filled),
            "FIRST_HEAD": int(session.has_head),
            "FIRST_MOMENTUM": int(keeps_momentum(session.state)),
            "SLOT_BYTES": f"{round_up(_state_bytes(shape) + 64, 4096)}u",
            "FIRMWARE": f"0x{_fingerprint(session, shape, tables)}u",
        },
        "Where the buffers lie": {
            f"IN_{macro}": _section(plan, symbol) for macro, symbol in _SYMBOLS.items()
        },
    }
    if not session.stage:
        pixels = {"PIXEL_MEAN": cut.network.pixel_mean, "PIXEL_STD": cut.network.pixel_std}
        groups["Pixels are normalised first"] = {
            name: "{" + ", ".join(f"{value:.8e}f" for value in row) + "}"
            for name, row in pixels.items()
        }
    title = f"{cut.network.name} of width {cut.network.width:g}, cut at layer {cut.latent_layer}"
    body = "\n".join(
        f"/* {name}. */\n{text.macros({f'QLR_{key}': value for key, value in group.items()})}"
        for name, group in groups.items()
    )
    return text.guarded("CONFIG", f"{title}, for {plan.target.name}.", body)


def _image(session: FirmwareSession, shape: Shape) -> Macros:
    height, width, channels = session.learner.cut.image_shape
    return {
        "IMAGE_H": height,
        "IMAGE_W": width,
        "IMAGE_C": channels,
        "FROZEN_LAYERS": len(session.stage),
        "FROZEN_BYTES": shape.frozen_cells,
        "PATCH_BYTES": shape.patch_bytes,
    }


def _latent(session: FirmwareSession, shape: Shape) -> Macros:
    memory = session.state.memory
    return {
        "LATENT_ELEMENTS": shape.latent,
        "LATENT_CHANNELS": memory.shape[2],
        "LATENT_STEP": float(np.float32(latent_codes.scale(session.latent_max, 8))),
        "EVENT_MAX": shape.event_max,
        "LATENT_MIN": float(np.float32(memory.latent_min)),
        "REPLAY_BITS": memory.bits,
        "REPLAY_BYTES": shape.replay_bytes,
        "REPLAY_STEP": float(np.float32(latent_codes.scale(memory.latent_max, memory.bits))),
        "REPLAY_SLOTS": shape.slots,
    }


def _layers(session: FirmwareSession, shape: Shape) -> Macros:
    network = session.learner.cut.network
    pixels = network.pool_hw if shape.layers else session.state.memory.shape[:2]
    return {
        "LAYERS": len(shape.layers),
        "LAST_LAYER": max(len(shape.layers) - 1, 0),
        "PARAMS": shape.parameters,
        "CHANNELS": shape.channels,
        "FEATURES": shape.features,
        "CENTERS": shape.centers,
        "PIXELS": pixels[0] * pixels[1],
        "CLASSES": shape.classes,
        "BN_EPSILON": network.bn_epsilon,
    }


def _protocol(protocol: Protocol, session: FirmwareSession, shape: Shape) -> Macros:
    copied = (
        "first_epochs",
        "epochs",
        "first_learning_rate",
        "learning_rate",
        "momentum",
        "weight_decay",
        "first_renorm_momentum",
        "renorm_momentum",
        "r_max",
        "d_max",
        "renorm_step",
        "center_momentum",
    )
    flags = ("train_layers", "drop_remainder", "reshuffle")
    return {
        "SEED": f"{session.seed}u",
        "MINIBATCH": shape.minibatch,
        **{name.upper(): getattr(protocol, name) for name in copied},
        **{name.upper(): number for name, number in _NORMALIZATIONS.items()},
        "NORMALIZATION": _NORMALIZATIONS[protocol.normalization],
        "CONSOLIDATES": int(shape.consolidates),
        **{name.upper(): int(getattr(protocol, name)) for name in flags},
    }


def _choice(shape: Shape, plan: Plan) -> Macros:
    floats = walk_floats(shape, plan.choice)
    arrays = ("output", "input", "gradient", "kept_gradient", "patch")
    return {
        "SLICE": plan.choice.slice,
        "KEEPS_GRADIENT": int(plan.choice.keeps_gradient),
        "KEEPS_FEATURES": int(plan.choice.keeps_features),
        **{f"{name.upper()}_FLOATS": floats[name] for name in arrays},
        "KEPT_STRIDE": floats["kept_stride"],
        "LATE_FEATURES": floats["late_features"],
        "WORKING_HEAD": shape.head if shape.consolidates else 1,
    }


def _section(plan: Plan, symbol: str) -> str:
    memory = plan.places[symbol]
    kind = "tables" if symbol in ("tables", "first_layers") else "state"
    usual = next(one for one in plan.target.memories if kind in one.holds)
    if memory == usual:
        return ""
    suffix = "_tables" if kind == "tables" else ""
    return f'__attribute__((section(".qlr_{memory.name}{suffix}")))'


def _state_bytes(shape: Shape) -> int:
    floats = 2 * (shape.parameters + 1) + 2 * (shape.channels + 1) + 2 * shape.head + shape.classes
    floats += shape.centers + 1
    return 8 + 4 * floats + 2 * (shape.slots + 1) + shape.slots * shape.replay_bytes


def _fingerprint(session: FirmwareSession, shape: Shape, tables: str) -> str:
    said = f"{session.learner.protocol}{session.seed}{_sizes(shape)}{tables}"
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def _sizes(shape: Shape) -> str:
    """That the layout of a saved state depends on."""
    return f"{shape.slots} {shape.replay_bytes} {shape.classes} {shape.features}"
