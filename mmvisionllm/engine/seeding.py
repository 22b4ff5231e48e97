"""Random numbers that depend on a key, such as (seed, iteration), and not on what was drawn before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def _seeds(key: tuple[int, ...]) -> list[int]:
    """Three independent seeds of 32 bits from non-negative integers of any size."""
    return np.random.SeedSequence(key).generate_state(3).tolist()


def seed_all(*key: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators, those of all accelerators included.

    Args:
        key: Non-negative integers; equal keys give equal random numbers.
    """
    for_python, for_numpy, for_torch = _seeds(key)
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Context in which the CPU's global generators are seeded; they go on as before afterwards.

    Args:
        key: Non-negative integers; equal keys give equal random numbers.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for_python, for_numpy, for_torch = _seeds(key)
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.default_generator.manual_seed(for_torch)  # torch.manual_seed would reach the GPUs as well
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
