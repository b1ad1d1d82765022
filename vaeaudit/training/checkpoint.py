"""Models on disk: safetensors for the arrays, JSON for how to build the model again. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from vaeaudit.core.errors import ArgumentError, StoreError, UnknownNameError
from vaeaudit.core.files import write_atomically
from vaeaudit.models.build import conv_vae, mlp_vae
from vaeaudit.models.convolutional import ConvDecoder, ConvEncoder
from vaeaudit.models.linear_gaussian import LinearGaussianVAE
from vaeaudit.models.networks import MLPDecoder, MLPEncoder
from vaeaudit.models.vae import AbstractVAE, NeuralVAE

FORMAT = 1
ARRAYS, CONFIG = "model.safetensors", "model.json"


def describe(model: AbstractVAE) -> dict[str, Any]:
    """Name and settings of the builder that gives a model of this structure.

    Raises
    ------
    ArgumentError
        For a model that none of the builders makes: one given as functions, or of other networks.
    """
    if isinstance(model, LinearGaussianVAE):
        data, latent = model.weight.shape
        return {"builder": "linear_gaussian", "settings": {"data_dim": data, "latent_dim": latent}}
    if isinstance(model, NeuralVAE):
        settings: dict[str, Any] = {
            "event_shape": list(getattr(model.decoder, "event_shape", ())),
            "latent_dim": model.latent_dim,
            "likelihood": model.likelihood.name,
            "learn_scale": bool(getattr(model.likelihood, "learned", False)),
        }
        if isinstance(model.encoder, MLPEncoder) and isinstance(model.decoder, MLPDecoder):
            settings["hidden"] = [int(layer.weight.shape[0]) for layer in model.encoder.trunk]
            settings["shared_scale"] = bool(model.encoder.shared_scale)
            return _verified(model, {"builder": "mlp_vae", "settings": settings})
        if isinstance(model.encoder, ConvEncoder) and isinstance(model.decoder, ConvDecoder):
            settings["channels"] = [int(layer.weight.shape[-1]) for layer in model.encoder.trunk]
            return _verified(model, {"builder": "conv_vae", "settings": settings})
    raise ArgumentError(
        f"only models from mlp_vae, conv_vae and LinearGaussianVAE can be saved; got {type(model).__name__}. "
        "For another model store its arrays with vaeaudit.stack_models([model]) and numpy.savez."
    )


def _verified(model: AbstractVAE, config: dict[str, Any]) -> dict[str, Any]:
    rebuilt: Any = jax.tree.structure(_build(config))
    if rebuilt != jax.tree.structure(model):
        raise ArgumentError(
            f"this model differs from what {config['builder']} builds with {config['settings']} (another "
            "activation, or other layers), so that it could not be rebuilt. Build it with the builder."
        )
    return config


def _build(config: dict[str, Any]) -> AbstractVAE:
    """Structure of the described model; its arrays are placeholders."""
    settings = dict(config["settings"])
    if config["builder"] == "linear_gaussian":
        d, j = settings["data_dim"], settings["latent_dim"]
        return LinearGaussianVAE(
            weight=np.zeros((d, j)),
            bias=np.zeros(d),
            noise_scale=1.0,
            enc_weight=np.zeros((j, d)),
            enc_bias=np.zeros(j),
            enc_scale=np.ones(j),
        )
    builders: dict[str, Any] = {"mlp_vae": mlp_vae, "conv_vae": conv_vae}
    if config["builder"] not in builders:
        raise StoreError(f"unknown builder {config['builder']!r}; this version knows {', '.join(builders)}.")
    return eqx.filter_eval_shape(builders[config["builder"]], jax.random.key(0), **settings)


def _leaves(model: AbstractVAE) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(model)
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in flat}


def save_model(model: AbstractVAE, folder: str | os.PathLike[str]) -> Path:
    """Write a model to ``folder``: ``model.safetensors`` and ``model.json``.

    Parameters
    ----------
    model
        From `mlp_vae`, `conv_vae` or `LinearGaussianVAE`, trained or not.
    folder
        Made if it does not exist.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArgumentError
        For a model that could not be rebuilt from its settings.
    StoreError
        If the folder cannot be written.

    Notes
    -----
    Each file is written beside its place, flushed to disk and moved; the JSON, with the arrays' sha256,
    comes last. A kill leaves the old model, the new one, or a mismatch that `load_model` names.

    Examples
    --------
    >>> import tempfile, vaeaudit as va
    >>> from vaeaudit.training.checkpoint import load_model, save_model
    >>> model = va.mlp_vae(0, event_shape=(4,), latent_dim=1, hidden=(3,))
    >>> again = load_model(save_model(model, tempfile.mkdtemp()))
    >>> bool((again.encoder.loc_head.weight == model.encoder.loc_head.weight).all())
    True
    """
    config = describe(model)
    payload = save_tensors({name: np.asarray(leaf) for name, leaf in _leaves(model).items()})
    digest = hashlib.sha256(payload).hexdigest()
    text = json.dumps({"format": FORMAT, **config, "sha256": digest}, indent=1, sort_keys=True)
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / ARRAYS, payload)
        write_atomically(path / CONFIG, text.encode())
    except OSError as error:
        raise StoreError(f"cannot write the model to {path}: {error}. Choose a writable folder.") from error
    return path


def load_model(folder: str | os.PathLike[str]) -> AbstractVAE:
    """Read a model that `save_model` wrote.

    Parameters
    ----------
    folder
        As given to `save_model`.

    Returns
    -------
    AbstractVAE
        Equal in structure and to the last bit.

    Raises
    ------
    StoreError
        If a file is missing, damaged, of another format, or does not fit the description.
    """
    path = Path(folder)
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        payload = (path / ARRAYS).read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"no model in {path}: {error.filename} is missing. Give the folder that save_model wrote."
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"the model in {path} cannot be read: {error}. Save it again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise StoreError(f"{path / CONFIG} is not a model description of format {FORMAT}.")
    if hashlib.sha256(payload).hexdigest() != config.get("sha256"):
        raise StoreError(
            f"{path / ARRAYS} does not have the sha256 that {CONFIG} names: it is damaged or belongs to "
            "another save. Save the model again."
        )
    try:
        like = _build(config)
        arrays = load_tensors(payload)
    except (KeyError, TypeError, ArgumentError, UnknownNameError, SafetensorError) as error:
        raise StoreError(f"the model in {path} cannot be rebuilt from its description: {error}.") from error
    expected = _leaves(like)
    wrong = {name for name in expected if name not in arrays or arrays[name].shape != expected[name].shape}
    if wrong or len(arrays) != len(expected):
        raise StoreError(
            f"the arrays in {path} do not fit the described {config['builder']}: {', '.join(sorted(wrong))}."
        )
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in expected])
