"""The frame stack against lists of frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from s7rl import FrameStack

WIDTH = 3


@pytest.mark.parametrize("n_frames", [1, 2, 4, 9])
@pytest.mark.parametrize("steps", [1, 12])
def test_each_step_is_a_linear_map_of_the_last_frames_of_its_episode(n_frames: int, steps: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = FrameStack(WIDTH, n_frames=n_frames).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(steps, 2, WIDTH, generator=generator, dtype=torch.double)
    state = torch.randn(2, (n_frames - 1) * WIDTH, generator=generator, dtype=torch.double)
    reset = torch.zeros(12, 2, dtype=torch.bool)
    reset[0, 1] = reset[5, 0] = reset[6, 0] = reset[11, 1] = True
    with torch.no_grad():
        y, last = core.scan(x, state, reset[:steps])
    weight, bias = core.output.weight.detach().numpy(), core.output.bias.detach().numpy()
    for row in range(2):
        frames = list(state[row].numpy().reshape(n_frames - 1, WIDTH))
        for t in range(steps):
            if reset[t, row]:
                frames = [np.zeros(WIDTH)] * (n_frames - 1)
            frames = [*frames, x[t, row].numpy()][-n_frames:]
            newest_first = np.concatenate(frames[::-1])
            np.testing.assert_allclose(y[t, row], weight @ newest_first + bias, rtol=1e-10, atol=1e-10)
            frames = frames[1:] if len(frames) == n_frames else frames
        np.testing.assert_allclose(last[row], np.concatenate([*frames, []]), rtol=0, atol=0)


def test_a_stack_of_one_frame_has_no_state_and_of_k_frames_k_minus_1() -> None:
    assert FrameStack(WIDTH, n_frames=1).state_size == 0
    assert FrameStack(WIDTH).state_size == 3 * WIDTH
