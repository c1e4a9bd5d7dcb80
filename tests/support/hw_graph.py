"""A mini-batch of a graph, pass by pass: every pass reads the maps that its streams name.

Products and windows are JAX's own, one layer at a time; what is tried is the schedule: which map a
pass reads, under whose name a gradient lies, what adds to it, who masks and sums it. Blocks within
a pass are tried on chains, see `hw_blocks`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from pulpsim.cost.blocked_product import BlockedProduct
from pulpsim.event import lifetimes
from pulpsim.event.joins import Blockwise
from support import plain_renorm

from qlrjax.network import Cut, Layer, floating
from qlrjax.training import renorm


@dataclasses.dataclass
class Chip:
    """Maps by name, gradients by layer, and what a mini-batch starts from.

    Attributes:
        cut: The network and where it is cut.
        params: As the library's adaptive stage has them.
        running: Statistics.
        latents: Decoded.
        labels: One a sample.
        limits: Of batch renorm; None where the running statistics normalise.
    """

    cut: Cut
    params: dict[str, Any]
    running: dict[str, Any]
    latents: Array
    labels: Array
    limits: renorm.RenormLimits | None

    def __post_init__(self) -> None:
        self.maps: dict[str, Array] = {}
        self.gradients: dict[str, dict[str, Array]] = {row.name: {} for row in self.cut.above}
        self.layers = {row.name: row for row in self.cut.above}

    def run(self, steps: list[Blockwise]) -> None:
        """All passes."""
        for number, step in enumerate(steps):
            if step.layer >= 0:
                self._pass(step, self.cut.network.layers[step.layer], steps[number + 1 :])

    def _pass(self, step: Blockwise, layer: Layer, later: list[Blockwise]) -> None:
        if layer.index == self.cut.network.last:
            self._classifier(step.step, layer)
            return
        match step.step:
            case "forward":
                weight = self.params["layers"][layer.name]["weight"]
                (x,) = self._inputs(step, layer)
                self.maps[f"z {layer.index}"] = floating.linear_part(layer, weight, x)
            case "add" | "window pool":
                y = floating.combine(layer, self._inputs(step, layer))
                self.maps[f"y {layer.index}"] = floating.activate(y, layer.activation)
            case "norm sums":
                dy = self._masked(layer, self._slope(step, layer)) if self._pooled(layer) else None
                self._sums(layer, self._slope(step, layer) if dy is None else dy)
            case "pool gradient":
                self._write(step, self._masked(layer, self._spread(layer)))
            case "norm gradient":
                self._write(step, self._through(layer, self._slope(step, layer)))
            case "add gradient":
                (name,) = (one.name for one in lifetimes.moved(step)[1])
                below = self.cut.network.layers[int(name.split()[1])]
                self._leave(step, below, self._slope(step, layer), later)
            case "window pool gradient":
                (x,) = self._inputs(step, layer, checked=False)
                back = jax.vjp(lambda x: floating.combine(layer, [x]), x)[1]
                self._leave(step, self._below(layer), back(self._slope(step, layer))[0], later)
            case _:
                self._product_back(step, layer, later)

    def _product_back(self, step: Blockwise, layer: Layer, later: list[Blockwise]) -> None:
        weight = self.params["layers"][layer.name]["weight"]
        (x,) = self._inputs(step, layer, checked=step.step != "input gradient")
        back = jax.vjp(lambda x, w: floating.linear_part(layer, w, x), x, weight)[1]
        dx, dw = back(self._raw_slope(step, layer))
        if step.step != "input gradient":
            self.gradients[layer.name]["weight"] = dw
        if step.step != "weight gradient" and layer.inputs[0] != self.cut.latent_name:
            self._leave(step, self._below(layer), dx, later)

    def _classifier(self, step: str, layer: Layer) -> None:
        below, head = self.cut.network.layers[-2], self.params["head"]
        match step:
            case "pool":
                self.maps["pooled"] = jnp.mean(self._activated(below), axis=(1, 2))
            case "loss":
                share = jax.nn.softmax(self.maps["pooled"] @ head)
                hot = jax.nn.one_hot(self.labels, share.shape[1])
                self.slopes = (share - hot) / len(self.labels)
            case "input gradient":
                self.maps["pooled gradient"] = self.slopes @ head.T
            case "weight gradient":
                self.gradients[layer.name]["weight"] = self.maps["pooled"].T @ self.slopes

    def _below(self, layer: Layer) -> Layer:
        return self.layers[layer.inputs[0]]

    def _pooled(self, layer: Layer) -> bool:
        return layer.index == self.cut.network.last - 1

    def _spread(self, layer: Layer) -> Array:
        vector, (height, width) = self.maps["pooled gradient"], layer.out_hw
        whole = (vector.shape[0], height, width, vector.shape[1])
        return jnp.broadcast_to(vector[:, None, None], whole) / (height * width)

    def _inputs(self, step: Blockwise, layer: Layer, checked: bool = True) -> list[Array]:
        """Inputs of a layer, whose maps the pass must name."""
        read, found = {one.name for one in lifetimes.moved(step)[0]}, []
        for name in layer.inputs:
            if name == self.cut.latent_name:
                assert not checked or "latent codes" in read
                found.append(self.latents)
                continue
            below = self.layers[name]
            stored = f"{'z' if below.has_weights else 'y'} {below.index}"
            assert not checked or stored in read, (step.name, step.step, stored)
            found.append(self._activated(below))
        return found

    def _affine(self, layer: Layer, z: Array, trained: dict[str, Array]) -> Array:
        """Normalisation or bias, as the library has it."""
        if not layer.batch_norm:
            return z + trained["bias"][None, None, None]
        running = self.running[layer.name]
        if self.limits is None:
            z = (z - running["mean"][None, None, None]) / running["std"][None, None, None]
        else:
            batch = plain_renorm.batch_moments(z, self.cut.network.bn_epsilon)
            z = plain_renorm.renormalise(z, batch, running, self.limits)
        return z * trained["gamma"][None, None, None] + trained["beta"][None, None, None]

    def _before_activation(self, layer: Layer) -> Array:
        if not layer.has_weights:
            return self.maps[f"y {layer.index}"]
        trained = self.params["layers"][layer.name]
        return self._affine(layer, self.maps[f"z {layer.index}"], trained)

    def _activated(self, layer: Layer) -> Array:
        return floating.activate(self._before_activation(layer), layer.activation)

    def _masked(self, layer: Layer, dy: Array) -> Array:
        y = self._before_activation(layer)
        inside = (y > 0) & (y < 6) if layer.activation == "relu6" else y > 0
        return dy if layer.activation == "none" else jnp.where(inside, dy, 0.0)

    def _back(self, layer: Layer, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Gradients of z and of the parameters behind it."""
        names = ("gamma", "beta") if layer.batch_norm else ("bias",)
        trained = {name: self.params["layers"][layer.name][name] for name in names}
        z = self.maps[f"z {layer.index}"]
        return jax.vjp(lambda z, own: self._affine(layer, z, own), z, trained)[1](dy)

    def _sums(self, layer: Layer, dy: Array) -> None:
        self.gradients[layer.name] |= self._back(layer, dy)[1]

    def _through(self, layer: Layer, dy: Array) -> Array:
        return self._back(layer, dy)[0]

    def _gradient_reads(self, step: Blockwise) -> list[str]:
        work = step.work
        sides = (*work.a.reads, *work.b.reads) if isinstance(work, BlockedProduct) else None
        streams = lifetimes.moved(step)[0] if sides is None else sides
        return [one.name for one in streams if one.name[:3] in ("dy ", "dz ")]

    def _slope(self, step: Blockwise, layer: Layer) -> Array:
        """The gradient that a pass reads first: of its layer's output."""
        if self._pooled(layer) and layer.has_weights:
            return self._spread(layer)
        return self.maps[self._gradient_reads(step)[0]]

    def _raw_slope(self, step: Blockwise, layer: Layer) -> Array:
        """Gradient of z, as it is stored or made from that of the output."""
        if self._pooled(layer):
            return self._through(layer, self._masked(layer, self._spread(layer)))
        found = self._slope(step, layer)
        stored = self._gradient_reads(step)[0] == f"dz {layer.index}"
        own = layer.batch_norm and self.limits is not None
        return self._through(layer, found) if own and not stored else found

    def _leave(self, step: Blockwise, below: Layer, part: Array, later: list[Blockwise]) -> None:
        """Adds what is there; the last one masks, sums, and scales where nobody does later."""
        work = step.work
        if isinstance(work, BlockedProduct):
            others = [one.name for one in work.c.reads if one.name[:3] in ("dy ", "dz ")]
        else:
            others = self._gradient_reads(step)[1:]
        for name in others:
            part = part + self.maps[name]
        names = (f"dy {below.index}", f"dz {below.index}")
        more = [
            one.name
            for other in later
            if other.step != "norm gradient"
            for one in lifetimes.moved(other)[1]
        ]
        if not set(names) & set(more):
            part = self._masked(below, part)
            if below.has_weights:
                self._sums(below, part)
                if below.batch_norm and self.limits is None:
                    part = self._through(below, part)
        self._write(step, part)

    def _write(self, step: Blockwise, value: Array) -> None:
        (one,) = lifetimes.moved(step)[1]
        self.maps[one.name] = value
