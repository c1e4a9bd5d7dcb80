"""A mini-batch of the blocked schedule, computed block by block in the memory that it is given.

Maps live in one flat array at the addresses of `lifetimes`; a block is read when it arrives and
written when it leaves, in the order of the walk, so a tensor that is overwritten too early, a sum
that is used too late or a weight that is updated too soon shows in the values.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from pulpsim.cost.blocked_planes import BlockedPlanes
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.event import lifetimes
from pulpsim.event.blocked import Blockwise
from pulpsim.event.setting import EventSetting

from qlrjax.network import Layer

Cuts = dict[int, tuple[str, tuple[int, ...]]]


def spans(total: int, size: int) -> Iterator[slice]:
    """Whole blocks, then the remainder."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


@dataclasses.dataclass
class Machine:
    """The chip's state in a mini-batch.

    Attributes:
        setting: The event.
        steps: Its passes.
        latents: [channels, samples, pixels], decoded.
        labels: One a sample.
        weights: By layer: [n, k], or [channels, 3, 3].
        norms: By layer: gamma, beta, running mean and std.
        limits: r_max and d_max.
        rate: Of SGD; momentum is 0.9 and starts at `momentum`.
    """

    setting: EventSetting
    steps: list[Blockwise]
    latents: np.ndarray
    labels: np.ndarray
    weights: dict[int, np.ndarray]
    momentum: dict[int, np.ndarray]
    norms: dict[int, dict[str, np.ndarray]]
    limits: tuple[float, float] = (1.25, 0.5)
    rate: float = 0.05
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        self.lives = {one.name: one for one in lifetimes.of(self.setting, self.steps)}
        size = lifetimes.highest_bytes(list(self.lives.values())) // 4
        self.memory = np.full(size, np.nan, np.float32)
        self.layers = {row.index: row for row in self.setting.network.layers}
        self.samples = self.setting.samples_per_minibatch
        self.last = self.setting.network.last
        self.vectors: dict[int, dict[str, Any]] = {row: {} for row in self.norms}

    def run(self, cuts: Cuts) -> None:
        """All passes, each with its order and blocks."""
        for number, step in enumerate(self.steps):
            if number not in cuts:
                continue
            order, block = cuts[number]
            layer = self.layers[step.layer]
            if isinstance(step.work, BlockedProduct):
                self._product(step, layer, order, block)
            elif isinstance(step.work, BlockedPlanes):
                self._planes(step, layer, block)

    def map(self, name: str) -> np.ndarray:
        """[channels, samples * pixels] of a stored map, a view."""
        one = self.lives[name]
        count = one.size_bytes // 4
        flat = self.memory[one.address // 4 : one.address // 4 + count]
        if name.startswith("pooled"):
            return flat.reshape(-1, self.samples)
        return flat.reshape(self.layers[int(name.split()[1])].out_channels, -1)

    def input(self, layer: Layer, rows: slice, columns: slice) -> np.ndarray:
        """A block of a trained layer's input, prepared as it arrives."""
        if layer.index == self.setting.latent_layer:
            return self.latents.reshape(self.latents.shape[0], -1)[rows, columns]
        if layer.index == self.last:
            return self.map("pooled")[rows, columns]
        below = layer.index - 1
        y, _ = self.activation(below, self.map(f"z {below}")[rows, columns], rows)
        return y

    def activation(self, index: int, z: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """relu6(a z + b), and where it lets gradients through."""
        vectors = self.vectors[index]
        y = z * vectors["scale"][rows, None] + vectors["shift"][rows, None]
        return np.clip(y, 0, 6), (y > 0) & (y < 6)

    def gradient(self, step: Blockwise, layer: Layer, rows: slice, columns: slice) -> np.ndarray:
        """A block of dz, made as it arrives or read where it is stored."""
        index = layer.index
        if index == self.last:
            return self.slopes[rows, columns]
        names = [one.name for one in lifetimes.moved(step)[0]]
        if f"dz {index}" in names:
            return self.map(f"dz {index}")[rows, columns]
        z = self.map(f"z {index}")[rows, columns]
        if index == self.last - 1:
            dy = self.spread(layer, rows, columns) * self.activation(index, z, rows)[1]
        else:
            dy = self.map(f"dy {index}")[rows, columns]
        return self.through(index, dy, z, rows)

    def spread(self, layer: Layer, rows: slice, columns: slice) -> np.ndarray:
        area = layer.out_hw[0] * layer.out_hw[1]
        samples = np.arange(columns.start, columns.stop) // area
        return self.map("pooled gradient")[rows][:, samples] / np.float32(area)

    def through(self, index: int, dy: np.ndarray, z: np.ndarray, rows: slice) -> np.ndarray:
        v = self.vectors[index]
        out = dy * v["back"][rows, None]
        if self.setting.statistics == "running":
            return out
        xhat = (z - v["mean"][rows, None]) / v["std"][rows, None]
        first, second = (v[name][rows, None] / v["count"] for name in ("sum_dy", "sum_dyx"))
        return (out - v["back"][rows, None] * (first + xhat * second)).astype(np.float32)

    def leave(self, step: Blockwise, layer: Layer, rows: slice, columns: slice, dx: Any) -> None:
        """Masks an input gradient, adds to the sums of the layer below, stores it."""
        below = layer.index - 1
        z = self.map(f"z {below}")[rows, columns]
        dy = dx * self.activation(below, z, rows)[1]
        self.add(below, dy, z, rows)
        letter = "dy" if self.setting.statistics == "minibatch" else "dz"
        if letter == "dz":
            dy = self.through(below, dy, z, rows)
        self.map(f"{letter} {below}")[rows, columns] = dy

    def add(self, index: int, dy: np.ndarray, z: np.ndarray, rows: slice) -> None:
        v = self.vectors[index]
        xhat = (z - v["mean"][rows, None]) / v["std"][rows, None]
        v["sum_dy"][rows] += dy.sum(1)
        v["sum_dyx"][rows] += (dy * xhat).sum(1)

    def produced(self, index: int, rows: slice, z: np.ndarray) -> None:
        v, zero = self.vectors[index], np.zeros(self.layers[index].out_channels, np.float64)
        for name in ("sum", "squares", "sum_dy", "sum_dyx"):
            v.setdefault(name, zero.copy())
        v["sum"][rows] += z.sum(1, dtype=np.float64)
        v["squares"][rows] += (z.astype(np.float64) ** 2).sum(1)

    def finish_statistics(self, index: int) -> None:
        """From sums to the affine of the layer: batch renorm, or the running statistics."""
        v, norm = self.vectors[index], self.norms[index]
        v["count"] = self.map(f"z {index}").shape[1]
        mean = v["sum"] / v["count"]
        std = np.sqrt(v["squares"] / v["count"] - mean**2 + self.epsilon)
        if self.setting.statistics == "running":
            mean, std = norm["mean"], norm["std"]
            r, d = 1.0, 0.0
        else:
            r = np.clip(std / norm["std"], 1 / self.limits[0], self.limits[0])
            d = np.clip((mean - norm["mean"]) / norm["std"], -self.limits[1], self.limits[1])
        scale = norm["gamma"] * r / std
        shift = norm["beta"] + norm["gamma"] * d - mean * scale
        v.update(mean=mean, std=std, r=r, d=d)
        v.update(scale=scale.astype(np.float32), shift=shift.astype(np.float32), back=scale)

    def update(self, index: int, where: Any, gradient: np.ndarray) -> None:
        """SGD where the gradient stands."""
        self.momentum[index][where] = 0.9 * self.momentum[index][where] + gradient
        self.weights[index][where] -= self.rate * self.momentum[index][where]

    def _product(self, step: Blockwise, layer: Layer, order: str, block: tuple[int, ...]) -> None:
        work = step.work
        assert isinstance(work, BlockedProduct)
        area = 1 if layer.index == self.last else layer.out_hw[0] * layer.out_hw[1]
        pixels, weights = area * self.samples, self.weights[layer.index]
        sizes = {
            "forward": (layer.out_channels, layer.in_channels, pixels),
            "input gradient": (layer.in_channels, layer.out_channels, pixels),
            "weight gradient": (layer.out_channels, pixels, layer.in_channels),
        }[step.step]

        def a(n: slice, k: slice) -> np.ndarray:
            match step.step:
                case "forward":
                    return weights[n, k]
                case "input gradient":
                    return weights.T[n, k]
                case _:
                    return self.gradient(step, layer, n, k)

        def b(k: slice, m: slice) -> np.ndarray:
            match step.step:
                case "forward":
                    return self.input(layer, k, m)
                case "input gradient":
                    return self.gradient(step, layer, k, m)
                case _:
                    return self.input(layer, m, k).T

        for n, m, total in walk(order, sizes, block, a, b):
            if step.step == "forward" and layer.index == self.last:
                self.logits[n, m] = total
            elif step.step == "forward":
                self.map(f"z {layer.index}")[n, m] = total
                self.produced(layer.index, n, total)
            elif step.step == "weight gradient":
                self.update(layer.index, (n, m), total)
            elif layer.index == self.last:
                self.map("pooled gradient")[n, m] = total
            else:
                self.leave(step, layer, n, m, total)
        if step.step == "forward" and layer.index != self.last:
            self.finish_statistics(layer.index)

    def _planes(self, step: Blockwise, layer: Layer, block: tuple[int, ...]) -> None:
        if step.step == "loss":
            shifted = np.exp(self.logits - self.logits.max(0))
            share = shifted / shifted.sum(0)
            share[self.labels, np.arange(self.samples)] -= 1
            self.slopes = (share / self.samples).astype(np.float32)
            return
        channels = self.layers[self.last - 1].out_channels if step.step == "pool" else None
        for rows in spans(channels or layer.out_channels, block[0]):
            taps = 0.0
            for some in spans(self.samples, block[1]):
                match step.step:
                    case "forward":
                        self._window(layer, rows, some)
                    case "both gradients":
                        taps = taps + self._window_back(step, layer, rows, some)
                    case "pool":
                        self._pool(rows, some)
                    case "norm sums":
                        columns = self._columns(layer, some)
                        z = self.map(f"z {layer.index}")[rows, columns]
                        dy = self.spread(layer, rows, columns)
                        self.add(
                            layer.index, dy * self.activation(layer.index, z, rows)[1], z, rows
                        )
                    case _:
                        columns = self._columns(layer, some)
                        dy = self.map(f"dy {layer.index}")[rows, columns]
                        z = self.map(f"z {layer.index}")[rows, columns]
                        dz = self.through(layer.index, dy, z, rows)
                        self.map(f"dz {layer.index}")[rows, columns] = dz
            if step.step == "both gradients":
                self.update(layer.index, rows, np.asarray(taps))
        if step.step == "forward":
            self.finish_statistics(layer.index)

    def _columns(self, layer: Layer, samples: slice) -> slice:
        area = layer.out_hw[0] * layer.out_hw[1]
        return slice(samples.start * area, samples.stop * area)

    def _pool(self, rows: slice, samples: slice) -> None:
        layer = self.layers[self.last - 1]
        z = self.map(f"z {layer.index}")[rows, self._columns(layer, samples)]
        y, _ = self.activation(layer.index, z, rows)
        means = y.reshape(y.shape[0], samples.stop - samples.start, -1).mean(2)
        self.map("pooled")[rows, samples] = means

    def _padded(self, layer: Layer, rows: slice, samples: slice) -> np.ndarray:
        high, wide = layer.in_hw
        area = high * wide
        columns = slice(samples.start * area, samples.stop * area)
        x = self.input(layer, rows, columns).reshape(rows.stop - rows.start, -1, high, wide)
        return np.pad(x, ((0, 0), (0, 0), *layer.padding))

    def _window(self, layer: Layer, rows: slice, samples: slice) -> None:
        x = self._padded(layer, rows, samples)
        total = sum(
            view(x, layer, i, j) * self.weights[layer.index][rows, i, j][:, None, None, None]
            for i in range(3)
            for j in range(3)
        )
        z = np.asarray(total, np.float32).reshape(x.shape[0], -1)
        self.map(f"z {layer.index}")[rows, self._columns(layer, samples)] = z
        self.produced(layer.index, rows, z)

    def _window_back(
        self, step: Blockwise, layer: Layer, rows: slice, samples: slice
    ) -> np.ndarray:
        x = self._padded(layer, rows, samples)
        columns = self._columns(layer, samples)
        dz = self.gradient(step, layer, rows, columns)
        dz = dz.reshape(x.shape[0], -1, *layer.out_hw)
        taps, dx = np.zeros((x.shape[0], 3, 3), np.float32), np.zeros_like(x)
        for i in range(3):
            for j in range(3):
                taps[:, i, j] = (view(x, layer, i, j) * dz).sum((1, 2, 3))
                scale = self.weights[layer.index][rows, i, j][:, None, None, None]
                view(dx, layer, i, j)[...] += dz * scale
        if layer.index > self.setting.latent_layer:
            (top, _), (left, _) = layer.padding
            high, wide = layer.in_hw
            inner = dx[:, :, top : top + high, left : left + wide].reshape(x.shape[0], -1)
            area = high * wide
            below = slice(samples.start * area, samples.stop * area)
            self.leave(step, layer, rows, below, inner)
        return taps

    @property
    def logits(self) -> np.ndarray:
        """[classes, samples], on chip."""
        if not hasattr(self, "_logits"):
            self._logits = np.zeros((self.setting.network.classes, self.samples), np.float32)
        return self._logits


def view(x: np.ndarray, layer: Layer, i: int, j: int) -> np.ndarray:
    """The inputs of tap (i, j)."""
    high, wide = layer.out_hw
    step = layer.stride
    return x[:, :, i : i + (high - 1) * step + 1 : step, j : j + (wide - 1) * step + 1 : step]


def walk(order: str, sizes: tuple[int, int, int], block: tuple[int, ...], a: Any, b: Any) -> Any:
    """Finished blocks of C in the order in which they are finished: (rows, columns, values)."""
    (rows, terms, columns), (nb, kb, mb) = sizes, block
    whole = slice(0, terms)
    if order == "A stays":
        for n in spans(rows, nb):
            stays = a(n, whole)
            for m in spans(columns, mb):
                yield n, m, stays @ b(whole, m)
    elif order == "B stays":
        for m in spans(columns, mb):
            stays = b(whole, m)
            for n in spans(rows, nb):
                yield n, m, a(n, whole) @ stays
    else:
        for n in spans(rows, nb):
            for m in spans(columns, mb):
                total = np.zeros((n.stop - n.start, m.stop - m.start), np.float32)
                for k in spans(terms, kb):
                    total += a(n, k) @ b(k, m)
                yield n, m, total
