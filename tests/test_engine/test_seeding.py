# Copyright (c) The mmvisionllm authors. Licensed under the Apache License 2.0.
import random

import numpy as np
import torch

from mmvisionllm.engine.seeding import seed_all, seeded


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_equal_keys_draw_equal_numbers():
    seed_all(1, 2, 3)
    first = draw()
    draw()
    seed_all(1, 2, 3)
    assert draw() == first
    for key in ((1, 2, 4), (2, 1, 3), (1, 2)):
        seed_all(*key)
        assert all(a != b for a, b in zip(draw(), first))


def test_seeded_leaves_no_trace():
    seed_all(0)
    expected = [draw(), draw()]
    seed_all(0)
    got = [draw()]
    with seeded(5):
        within = draw()
    got.append(draw())
    assert got == expected
    seed_all(5)
    assert draw() == within


def test_seeded_restores_after_an_error():
    state = torch.get_rng_state()
    try:
        with seeded(5):
            draw()
            raise KeyError
    except KeyError:
        assert torch.equal(torch.get_rng_state(), state)


def test_seeds_may_be_large():
    seed_all(2**40, 10**12)
