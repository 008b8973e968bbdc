"""Initial time scales, spread log-uniformly: there is no telling beforehand how far back a task looks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def log_uniform(shape: tuple[int, ...], span: tuple[float, float]) -> Float[Tensor, "..."]:
    """Draw numbers whose logarithms are spread uniformly over the span."""
    low, high = math.log(span[0]), math.log(span[1])
    return torch.exp(low + (high - low) * torch.rand(shape))


def chrono_bias(d_model: int, horizon: tuple[float, float]) -> Float[Tensor, " H"]:
    """Biases log(tau - 1) with which a forget gate keeps what it has for about tau steps.

    Tallec and Ollivier 2018 (arXiv 1804.11188), who draw tau uniformly; here it is log-uniform, as everywhere.
    """
    return torch.log(log_uniform((d_model,), horizon) - 1)
