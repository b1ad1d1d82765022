"""The same VAE in PyTorch: a plain training loop as tutorials have it, and a tuned one."""

from __future__ import annotations

import itertools
import math
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Net:
    """Sizes: event → hidden → latent → hidden reversed → event, tanh; Bernoulli logits; Adam 1e−3."""

    event: int
    hidden: tuple[int, ...]
    latent: int
    batch: int = 128


class TorchVAE(nn.Module):
    """Encoder with two heads and decoder, Glorot-uniform weights, zero biases."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        widths = (net.event, *net.hidden)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.Tanh()]
        self.trunk = nn.Sequential(*layers)
        self.loc, self.log_scale = nn.Linear(widths[-1], net.latent), nn.Linear(widths[-1], net.latent)
        widths = (net.latent, *reversed(net.hidden), net.event)
        layers = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.Tanh()]
        self.decoder = nn.Sequential(*layers[:-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """−ELBO per datum, mean over the batch."""
        h = self.trunk(x)
        loc, log_scale = self.loc(h), self.log_scale(h)
        z = loc + torch.exp(log_scale) * torch.randn_like(loc)
        distortion = nn.functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        rate = 0.5 * torch.sum(loc**2 + torch.exp(2 * log_scale) - 1 - 2 * log_scale)
        return (distortion + rate) / x.shape[0]


def plain_loop(
    net: Net, data: np.ndarray, epochs: int, seed: int = 0, keep: list[float] | None = None
) -> None:
    """DataLoader, default Adam, one model."""
    torch.manual_seed(seed)
    model = TorchVAE(net)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(data)),
        batch_size=net.batch,
        shuffle=True,
        drop_last=True,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        total = 0.0
        for (x,) in loader:
            optimiser.zero_grad()
            loss = model.loss(x)
            loss.backward()
            optimiser.step()
            total += loss.item()
        if keep is not None:
            keep.append(-total / len(loader))


def tuned_loop(net: Net, data: np.ndarray, epochs: int, seed: int = 0) -> None:
    """Data as one tensor, a permutation per epoch, fused Adam, no reading of the loss within an epoch."""
    torch.manual_seed(seed)
    model = TorchVAE(net)
    x_all = torch.from_numpy(data)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    steps = len(data) // net.batch
    for _ in range(epochs):
        order = torch.randperm(len(data))
        for t in range(steps):
            loss = model.loss(x_all[order[t * net.batch : (t + 1) * net.batch]])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()


def pythae_loop(net: Net, data: np.ndarray, epochs: int, seed: int = 0) -> None:
    """Pythae's own `BaseTrainer` and `VAE` around the same network; it must be importable."""
    import logging
    import tempfile

    logging.disable(logging.WARNING)
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.manual_seed(seed)
    ours = TorchVAE(net)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.loc, self.log_scale = ours.trunk, ours.loc, ours.log_scale

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = self.trunk(x)
            return ModelOutput(embedding=self.loc(h), log_covariance=2 * self.log_scale(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = ours.decoder

        def forward(self, z: torch.Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.decoder(z)))

    config = VAEConfig(input_dim=(net.event,), latent_dim=net.latent, reconstruction_loss="bce")
    whole = torch.from_numpy(data[: len(data) // net.batch * net.batch])  # it keeps a smaller last batch
    with tempfile.TemporaryDirectory() as folder:
        settings = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=net.batch,
            learning_rate=1e-3,
            no_cuda=True,
            seed=seed,
        )
        trainer = BaseTrainer(
            model=VAE(config, encoder=Encoder(), decoder=Decoder()),
            train_dataset=BaseDataset(whole, torch.zeros(len(whole))),
            training_config=settings,
        )
        trainer.train()


def worker(connection, net: Net, data: np.ndarray, threads: int, pythae: str | None = None) -> None:
    """A process that trains a model on request: (kind, epochs, seed) in, CPU seconds out."""
    torch.set_num_threads(threads)
    if pythae:
        sys.path.append(pythae)
    loops = {"plain": plain_loop, "tuned": tuned_loop, "pythae": pythae_loop}
    while (request := connection.recv()) is not None:
        kind, epochs, seed = request
        start = time.process_time()
        loops[kind](net, data, epochs, seed)
        connection.send(time.process_time() - start)


def flops_per_step(net: Net) -> float:
    """Multiply-adds ×2 of the matrix products of one step: forward, and backward twice but for the input."""
    widths = (net.event, *net.hidden)
    encoder = [a * b for a, b in itertools.pairwise(widths)] + [2 * widths[-1] * net.latent]
    widths = (net.latent, *reversed(net.hidden), net.event)
    decoder = [a * b for a, b in itertools.pairwise(widths)]
    return 2.0 * net.batch * (3 * math.fsum(encoder + decoder) - encoder[0])
