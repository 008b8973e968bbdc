"""An agent that was exported to ONNX plays, with numpy and onnxruntime alone: torch need not be installed.

    s7rl export pretrained:repeat-previous
    python examples/onnx_agent.py repeat-previous.onnx s7rl.envs:s7rl/RepeatPrevious-v0

Keyword arguments of the environment may follow, such as k=8.
"""

import sys
import time
from typing import Any

import gymnasium
import numpy as np
import onnxruntime


class OnnxAgent:
    """Acts in one environment, by the most probable action."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more only wait for each other
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.observation, state, _, noise = self.session.get_inputs()
        self.state = np.zeros((1, state.shape[1]), np.float32)
        self.noise = np.zeros((1, noise.shape[1]), np.float32)  # rng.gumbel(size=...) would draw among discrete actions

    def act(self, observation: Any, episode_start: bool) -> Any:
        """The action for an observation; ``episode_start`` is true for the first of an episode."""
        inputs = {"observation": np.asarray(observation)[None], "state": self.state, "noise": self.noise}
        action, self.state = self.session.run(None, {**inputs, "episode_start": np.array([episode_start])})
        return action[0]


def main(path: str, env: gymnasium.Env, episodes: int = 10, seed: int = 10_000) -> list[float]:
    """Plays, and prints what came of it; the return of each episode."""
    agent, returns, seconds = OnnxAgent(path), [], []
    for episode in range(episodes):
        (observation, _), start, ended = env.reset(seed=seed + episode), True, False
        returns.append(0.0)
        while not ended:
            begin = time.perf_counter()
            action = agent.act(observation, start)
            seconds.append(time.perf_counter() - begin)
            observation, reward, terminated, truncated, _ = env.step(action)
            start, ended = False, terminated or truncated
            returns[-1] += float(reward)
    print(f"{episodes} episodes, mean return {np.mean(returns):.3f}, {1e6 * np.median(seconds):.0f} us per step")
    return returns


if __name__ == "__main__":
    words = [word.split("=") for word in sys.argv[3:]]
    arguments: dict[str, Any] = {name: int(value) for name, value in words}
    main(sys.argv[1], gymnasium.make(sys.argv[2], **arguments))
