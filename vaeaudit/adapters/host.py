"""Functions that run outside JAX: arrays in and out through a callback from compiled programs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.errors import ArgumentError, MissingDependencyError, ShapeError

Run = Callable[[np.ndarray], Any]  # float32 array → array or tuple of arrays

_STATEFUL = ("dropout", "batchnorm")  # parts whose training mode changes what a model computes


def _installed(package: str) -> Any:
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(
            f"framework={package!r} needs the package {package}, which is not installed. "
            f"Run: pip install {package}"
        )
    return importlib.import_module(package)


def _as_numpy(function: Callable[..., Any]) -> Run:
    return function


def _as_torch(function: Callable[..., Any], name: str) -> Run:
    torch = _installed("torch")
    owner = function if isinstance(function, torch.nn.Module) else getattr(function, "__self__", None)
    device = torch.device("cpu")
    if isinstance(owner, torch.nn.Module):
        check_evaluation_mode(owner, name)
        first = next(owner.parameters(), None)
        device = device if first is None else first.device

    def plain(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(plain(item) for item in value)
        return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value

    def run(array: np.ndarray) -> Any:
        with torch.no_grad():
            return plain(function(torch.from_numpy(array).to(device)))

    return run


def check_evaluation_mode(module: Any, name: str) -> None:
    """Refuse a PyTorch module whose dropout or batch normalisation is in training mode.

    Raises
    ------
    ArgumentError
    """
    active = [
        path or type(part).__name__
        for path, part in module.named_modules()
        if part.training and any(word in type(part).__name__.lower() for word in _STATEFUL)
    ]
    if active:
        raise ArgumentError(
            f"`{name}` belongs to a PyTorch module in training mode; its {', '.join(active[:3])} would make "
            "q(z|x) and p(x|z) random or dependent on the batch. Call module.eval() first."
        )


def _as_keras(function: Callable[..., Any]) -> Run:
    keras = _installed("keras")
    options = {"training": False} if isinstance(function, keras.layers.Layer) else {}

    def plain(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return tuple(plain(item) for item in value)
        return keras.ops.convert_to_numpy(value)

    def run(array: np.ndarray) -> Any:
        return plain(function(keras.ops.convert_to_tensor(array), **options))

    return run


def host_function(function: Callable[..., Any], framework: str, name: str) -> Run:
    """Wrap a function of ``framework`` as one from float32 arrays to arrays.

    Raises
    ------
    ArgumentError, MissingDependencyError
    """
    if framework == "torch":
        return _as_torch(function, name)
    return _as_keras(function) if framework == "keras" else _as_numpy(function)


class HostFunction(eqx.Module):
    """A function outside JAX with ``outputs`` arrays, callable from compiled programs."""

    name: str = eqx.field(static=True)
    run: Run = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    event_shape: tuple[int, ...] = eqx.field(static=True, default=())

    def eager(self, array: Any) -> tuple[np.ndarray, ...]:
        """Call outside JAX; check the number and the kind of what comes back.

        Raises
        ------
        ShapeError
        """
        out = self.run(np.array(array, dtype=np.float32))  # a copy: frameworks may write to their input
        parts = tuple(out) if isinstance(out, tuple | list) else (out,)
        if len(parts) != self.outputs:
            wanted = "a pair (loc, spread)" if self.outputs == 2 else "one array"
            hint = " Drop the sample of z: encode=lambda x: encoder(x)[:2]." if len(parts) == 3 else ""
            raise ShapeError(f"`{self.name}` must return {wanted}; got {len(parts)} outputs.{hint}")
        return tuple(np.asarray(part, dtype=np.float32) for part in parts)

    def call(self, shapes: Sequence[tuple[int, ...]], array: Array) -> tuple[Array, ...]:
        """Call from a traced program; ``shapes`` are those of the outputs."""

        def checked(value: Any) -> tuple[np.ndarray, ...]:
            parts = self.eager(value)
            for part, shape in zip(parts, shapes, strict=True):
                if part.shape != tuple(shape):
                    raise ShapeError(f"`{self.name}` must return shape {tuple(shape)}; got {part.shape}.")
            return parts

        kinds = tuple(jax.ShapeDtypeStruct(tuple(shape), jnp.float32) for shape in shapes)
        return jax.pure_callback(checked, kinds, array, vmap_method="sequential")

    def with_event_shape(self, latent_dim: int) -> HostFunction:
        """Try the decoder on two zero latents and keep the event shape of its output.

        Raises
        ------
        ShapeError
        """
        [out] = self.eager(np.zeros((2, latent_dim), np.float32))
        if out.ndim < 2 or out.shape[0] != 2:
            raise ShapeError(
                f"`{self.name}` must map z (n, {latent_dim}) to (n, *event); for n = 2 it returned "
                f"{out.shape}."
            )
        return HostFunction(self.name, self.run, self.outputs, out.shape[1:])
