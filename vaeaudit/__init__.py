"""vaeaudit: what does a VAE's training objective actually optimise?

Public names are loaded on first use, so that ``import vaeaudit`` is immediate.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.3.0"

# public name → module that defines it
_PUBLIC = {
    # models
    "vae": "vaeaudit.models.vae",
    "AbstractVAE": "vaeaudit.models.vae",
    "NeuralVAE": "vaeaudit.models.vae",
    "mlp_vae": "vaeaudit.models.build",
    "conv_vae": "vaeaudit.models.build",
    "LinearGaussianVAE": "vaeaudit.models.linear_gaussian",
    "from_decoder": "vaeaudit.adapters.callables",
    # data
    "load_data": "vaeaudit.data.registry",
    "Dataset": "vaeaudit.data.dataset",
    # training
    "fit": "vaeaudit.training.fit",
    "sweep": "vaeaudit.training.sweep",
    "stack_models": "vaeaudit.training.stacking",
    "unstack_models": "vaeaudit.training.stacking",
    # estimators
    "log_evidence": "vaeaudit.estimators.evidence",
    "evidence_bracket": "vaeaudit.estimators.annealed",
    "inference_gap": "vaeaudit.estimators.inference_gap",
    "mean_inference_gap": "vaeaudit.estimators.mean_gap",
    "rate_distortion": "vaeaudit.estimators.rate_distortion",
    "aggregate_posterior": "vaeaudit.estimators.aggregate_posterior",
    "aggregate_distances": "vaeaudit.estimators.distances",
    "log_mixture_density": "vaeaudit.estimators.mixture_density",
    "active_units": "vaeaudit.estimators.active_units",
    "compare_definitions": "vaeaudit.estimators.unit_definitions",
    "ablation_loss": "vaeaudit.estimators.unit_definitions",
    "disentanglement": "vaeaudit.estimators.disentanglement",
    "gradient_alignment": "vaeaudit.estimators.gradients",
    "log_evidence_gradient": "vaeaudit.estimators.fisher_identity",
    "alignment_along_training": "vaeaudit.estimators.alignment_path",
    "stops_climbing": "vaeaudit.estimators.alignment_path",
    "bound_check": "vaeaudit.estimators.bound_certificates",
    "kl_excess": "vaeaudit.estimators.bound_region",
    "loc_range_below_kl": "vaeaudit.estimators.bound_region",
    # whole audits, derivations, studies
    "audit": "vaeaudit.auditing",
    "check_derivations": "vaeaudit.derivations.register",
    "linear_gaussian_optima": "vaeaudit.derivations.linear_theory",
    "gradient_noise": "vaeaudit.derivations.gradient_noise",
    "linear_gaussian_path": "vaeaudit.derivations.linear_paths",
    "train_linear_gaussian": "vaeaudit.derivations.linear_trained",
    "verify_linear_gaussian_optima": "vaeaudit.derivations.linear_paths",
    "Study": "vaeaudit.study.study",
    "Cell": "vaeaudit.study.study",
    "CellResult": "vaeaudit.study.study",
    "training_progress": "vaeaudit.study.progress",
    # records and errors
    "Estimate": "vaeaudit.core.records",
    "Bracket": "vaeaudit.core.records",
    "VaeauditError": "vaeaudit.core.errors",
}
_MODULES = {"objectives", "errors", "report", "figures", "tables"}

__all__ = ["__version__", *sorted(_PUBLIC), *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module("vaeaudit.core.errors" if name == "errors" else f"vaeaudit.{name}")
    raise AttributeError(f"module 'vaeaudit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
