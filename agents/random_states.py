"""The states of the global random generators: Python's, numpy's, and torch's where torch is in use.

Without importing torch, which the worker processes of :mod:`s7rl.agents.workers` do without.
"""

import random
import sys
from typing import Any, TypeAlias

import numpy as np

RandomStates: TypeAlias = dict[str, Any]
"""State of each generator, by the name of its package; it pickles."""


def random_states() -> RandomStates:
    """Where the global generators stand.  Those of GPUs are among them once CUDA is in use."""
    states = {"numpy": np.random.get_state(), "python": random.getstate()}  # noqa: NPY002
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: RandomStates) -> None:
    """Put the global generators where :func:`random_states` found them."""
    np.random.set_state(states["numpy"])  # noqa: NPY002
    random.setstate(states["python"])
    if "torch" in states:
        import torch

        torch.set_rng_state(states["torch"])
        if "cuda" in states and torch.cuda.device_count() == len(states["cuda"]):
            torch.cuda.set_rng_state_all(states["cuda"])
