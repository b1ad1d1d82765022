"""Training objectives, each a pure function of named terms."""

from vaeaudit.objectives.aggregate import MMD as mmd
from vaeaudit.objectives.aggregate import TotalCorrelation as total_correlation
from vaeaudit.objectives.autoencoders import Autoencoder as autoencoder
from vaeaudit.objectives.autoencoders import RegularizedAutoencoder as regularized_autoencoder
from vaeaudit.objectives.base import Objective, Terms
from vaeaudit.objectives.importance import IWAE as iwae
from vaeaudit.objectives.kl_family import ELBO as elbo
from vaeaudit.objectives.kl_family import AnnealedBeta as annealed_beta
from vaeaudit.objectives.kl_family import Beta as beta
from vaeaudit.objectives.kl_family import Capacity as capacity
from vaeaudit.objectives.kl_family import FreeBits as free_bits
from vaeaudit.objectives.kl_family import LearnedScale as learned_scale
from vaeaudit.objectives.penalties import HalfQuadratic as half_quadratic
from vaeaudit.objectives.penalties import HeadL2 as head_l2
from vaeaudit.objectives.penalties import MomentPenalty as moment_penalty
from vaeaudit.objectives.penalties import WassersteinPenalty as wasserstein_penalty
from vaeaudit.objectives.registry import REGISTRY, parse
from vaeaudit.objectives.score import Score, score, score_many
from vaeaudit.objectives.terms import compute_terms

__all__ = [
    "REGISTRY",
    "Objective",
    "Score",
    "Terms",
    "annealed_beta",
    "autoencoder",
    "beta",
    "capacity",
    "compute_terms",
    "elbo",
    "free_bits",
    "half_quadratic",
    "head_l2",
    "iwae",
    "learned_scale",
    "mmd",
    "moment_penalty",
    "parse",
    "regularized_autoencoder",
    "score",
    "score_many",
    "total_correlation",
    "wasserstein_penalty",
]
