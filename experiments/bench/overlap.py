"""Does it pay to step one half of the environments while the policy acts for the other half?

    python -m s7rl.experiments.bench.overlap [--out overlap.csv]

Sample Factory calls it double-buffered sampling (Petrenko et al. 2020, arXiv 2006.11751).  Here every environment has a
process of its own (:class:`s7rl.agents.workers.WorkerVecEnv`), and a rollout's steps are taken in three orders:

* ``in turn``: the policy acts for all, then all step; as :class:`s7rl.agents.RecurrentPPO` does it.
* ``together``: while one half steps, the policy acts for the other one.  Between two steps there is a moment at which
  no environment is under way, so that a callback finds all of them at the same step, as it does now.
* ``freely``: a half goes on as soon as its actions are known, and what is left to do for a step is done while both
  halves are under way.  A callback would find environments that are a step ahead: the most that could be gained.

The orders take turns.  By the wall's clock a round counts only if nearly nothing else ran meanwhile: orders that differ
in how well they use the cores cannot be compared where others use them too.  The processor's time always counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnvWrapper, VecMonitor, VecTransposeImage
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from s7rl.agents import RecurrentPPO
from s7rl.agents.observations import to_tensors
from s7rl.agents.threads import torch_threads
from s7rl.agents.worker_process import MakeEnv
from s7rl.agents.workers import WorkerVecEnv
from s7rl.envs.registry import find_spec
from s7rl.experiments.bench.measuring import Spread, ratio
from s7rl.experiments.csv_table import csv_table
from s7rl.files import write_atomically

N_STEPS = 128
"""Steps per environment of a rollout."""
ROUND_SECONDS = 0.5
"""How long one order is timed."""
QUIET = 0.1
"""A round counts if others used less than so many cores meanwhile."""
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "s7": ("MlpPolicy", {}),
    "s7, width 256, 2 blocks": ("MlpPolicy", {"d_model": 256, "n_blocks": 2}),
    "s7 on images": ("CnnPolicy", {}),
}
CASES: tuple[tuple[str, str, int], ...] = (
    ("s7", "burns 50", 8),
    ("s7", "burns 500", 8),
    ("s7", "burns 2000", 8),
    ("s7", "varies 500", 8),
    ("s7", "sleeps 500", 8),
    ("s7", "sleeps 2000", 8),
    ("s7", "CartPole-v1", 8),
    ("s7", "MiniGrid-MemoryS13-v0", 16),
    ("s7", "s7rl/AntPositionOnly-v0", 16),
    ("s7, width 256, 2 blocks", "s7rl/AntPositionOnly-v0", 16),
    ("s7 on images", "s7rl/PongFlickering-v0", 8),
    ("s7 on images", "s7rl/PongFlickering-v0", 16),
)
"""Policy; an id, or how a step passes how many microseconds; environments."""


class Acted(NamedTuple):
    """What a rollout keeps of a step of the policy."""

    observations: torch.Tensor
    starts: torch.Tensor
    actions: torch.Tensor
    values: torch.Tensor
    log_probs: torch.Tensor


class BusyEnv(gym.Env[NDArray[np.float32], np.int64]):
    """Sixteen zeros to see, four actions, no reward, 100 steps: all it does is to let time pass.

    Args:
        how: "burns": computes for ``seconds``; "varies": for an exponentially distributed time; "sleeps": waits.
        seconds: mean of a step.
    """

    def __init__(self, how: str, seconds: float) -> None:
        self.how, self.seconds = how, seconds
        self.observation_space = spaces.Box(-1.0, 1.0, (16,), np.float32)
        self.action_space = spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(16, np.float32), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Let time pass: the processor's where it is burnt, so that a step is the same work on a busy machine."""
        seconds = self.np_random.exponential(self.seconds) if self.how == "varies" else self.seconds
        if self.how == "sleeps":
            time.sleep(seconds)
        else:
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
        self.steps += 1
        return np.zeros(16, np.float32), 0.0, self.steps == 100, False, {}


class Gathered(VecEnvWrapper):
    """Hands on what the halves gave, as if all had been stepped at once."""

    results: VecEnvStepReturn | None = None

    def reset(self) -> VecEnvObs:
        """Start all episodes anew."""
        return self.venv.reset()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Step all, unless the halves have been stepped."""
        if self.results is None:
            self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """What came of it."""
        results, self.results = self.results, None
        return self.venv.step_wait() if results is None else results


class Rollouts:
    """Steps of one policy in environments, in any of the orders."""

    def __init__(self, policy: str, env: str, n_envs: int) -> None:
        """Make the environments and learn from one rollout, which also compiles what is compiled."""
        self.workers = WorkerVecEnv([maker(env)] * n_envs)
        self.gathered = Gathered(self.workers)
        name, options = POLICIES[policy]
        vec_env: VecEnvWrapper = VecMonitor(self.gathered)
        if name == "CnnPolicy":
            vec_env = VecTransposeImage(vec_env, skip=True)  # images of half of the environments need no wrapper then
        self.env = vec_env
        self.model = RecurrentPPO(name, vec_env, n_steps=N_STEPS, policy_kwargs=options, seed=0, device="cpu")
        self.model.learn(N_STEPS * n_envs)
        self.halves = (slice(0, n_envs // 2), slice(n_envs // 2, n_envs))
        self.all = slice(0, n_envs)
        self.observations: Any = self.model._last_obs
        assert self.model._last_state is not None
        assert self.model._last_episode_starts is not None
        self.state, self.starts = self.model._last_state, self.model._last_episode_starts
        self.steps = 0

    def learning_seconds(self) -> float:
        """The processor's seconds of one update, for each step of all environments."""
        began = time.process_time()
        self.model.train()
        self.model.policy.set_training_mode(False)
        return (time.process_time() - began) / N_STEPS

    def in_turn(self, steps: int) -> None:
        """Act for all, then step all."""
        for _ in range(steps):
            acted, actions = self._act(self.all)
            self._keep(acted)
            self.observations, rewards, self.starts, _ = self.env.step(actions)
            self._reward(rewards)

    def together(self, steps: int) -> None:
        """Act for one half while the other one steps; nobody is under way between two steps of all."""
        first, second = self.halves
        acted, actions = self._act(first)
        for left in reversed(range(steps)):
            self._send(first, actions)
            acted_second, actions_second = self._act(second)
            got = self._receive(first)
            self._send(second, actions_second)
            done = self._both(acted, acted_second)
            if left:
                acted, actions = self._act(first)
            self._book(done, got + self._receive(second))

    def freely(self, steps: int) -> None:
        """Act for one half while the other one steps, and book a step while both are under way."""
        acted = []
        for half in self.halves:
            now, actions = self._act(half)
            self._send(half, actions)
            acted.append(now)
        for left in reversed(range(steps)):
            done, got = self._both(*acted), []
            for number, half in enumerate(self.halves):
                got += self._receive(half)
                if left:
                    acted[number], actions = self._act(half)
                    self._send(half, actions)
            self._book(done, got)

    def close(self) -> None:
        """End the workers."""
        self.env.close()

    def _act(self, part: slice) -> tuple[Acted, NDArray[Any]]:
        observations = to_tensors(self.observations[part], self.model.device)
        starts = torch.as_tensor(self.starts[part])
        with torch.no_grad():
            actions, values, log_probs, state = self.model.policy(observations, self.state[part], starts)
        if part == self.all:
            self.state = state
        else:
            self.state[part] = state
        assert isinstance(observations, torch.Tensor)
        acted = Acted(observations, starts, actions, values, log_probs)
        return acted, self.model.policy.to_action_space(actions.numpy())

    def _send(self, half: slice, actions: NDArray[Any]) -> None:
        for remote, action in zip(self.workers.remotes[half], actions, strict=True):
            remote.send(("step", action))

    def _receive(self, half: slice) -> list[Any]:
        results = [remote.recv() for remote in self.workers.remotes[half]]
        assert self.workers._buffers is not None
        # Copies: what is kept of the step before shares the memory of the arrays from before.
        self.observations, self.starts = self.observations.copy(), self.starts.copy()
        self.observations[half] = self.workers._buffers.read()[half]
        self.starts[half] = [done for _, _, done, _, _ in results]
        return results

    @staticmethod
    def _both(first: Acted, second: Acted) -> Acted:
        return Acted(*(torch.cat(pair) for pair in zip(first, second, strict=True)))

    def _book(self, acted: Acted, results: list[Any]) -> None:
        _, rewards, dones, infos, _ = zip(*results, strict=True)
        self.gathered.results = (self.observations, np.array(rewards, np.float32), np.array(dones), list(infos))
        self._keep(acted)
        self._reward(self.env.step_wait()[1])

    def _keep(self, acted: Acted) -> None:
        self.model.rollout_buffer.add(self.steps % N_STEPS, *acted, None)

    def _reward(self, rewards: NDArray[np.float32]) -> None:
        self.model.rollout_buffer.rewards[self.steps % N_STEPS] = torch.as_tensor(rewards)
        self.steps += 1


class Processors:
    """Who uses the cores."""

    def __init__(self, workers: list[int]) -> None:
        """Args: workers: ids of the processes that count as ours, besides this one."""
        self.workers = workers
        self._before = self._read()

    def main(self) -> float:
        """Seconds that this process has used."""
        return time.process_time()

    def ours(self) -> float:
        """Seconds that this process and the workers have used."""
        nanoseconds = (
            Path(f"/proc/{worker}/task/{worker}/schedstat").read_text().split()[0] for worker in self.workers
        )
        return time.process_time() + 1e-9 * sum(map(int, nanoseconds))

    def others(self) -> float:
        """Cores that others have used since the last call."""
        (then, used_then), (now, used_now) = self._before, self._read()
        self._before = now, used_now
        return max(0.0, (used_now - used_then) / max(1e-9, now - then))

    def _read(self) -> tuple[float, float]:
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        return time.perf_counter(), (user + nice + system + irq + softirq + steal) / ticks - self.ours()


def maker(env: str) -> Callable[[], gym.Env[Any, Any]]:
    """Makes the environment of a case."""
    how, _, microseconds = env.partition(" ")
    if microseconds:
        return partial(BusyEnv, how, 1e-6 * float(microseconds))
    return MakeEnv(env, {}, (), find_spec(env))


def measure(policy: str, env: str, n_envs: int, rounds: int, patience: float) -> dict[str, str | float]:
    """One line of the table.

    Args:
        policy: one of ``POLICIES``.
        env: an id, or how a step passes how many microseconds.
        n_envs: how many.
        rounds: how often each order is timed.
        patience: seconds after which rounds do not go on until as many were quiet.
    """
    rollouts = Rollouts(policy, env, n_envs)
    orders = {"in_turn": rollouts.in_turn, "together": rollouts.together, "freely": rollouts.freely}
    walls: list[list[float]] = []
    processors: list[list[float]] = []
    with torch_threads(rollouts.model.threads):
        for order in orders.values():
            order(20)
        learning = min(rollouts.learning_seconds() for _ in range(2))
        began = time.perf_counter()
        rollouts.in_turn(20)
        steps = max(10, int(ROUND_SECONDS * 20 / (time.perf_counter() - began)))
        use = Processors([process.pid for process in rollouts.workers.processes])
        began = time.perf_counter()
        while len(processors) < rounds or (len(walls) < rounds and time.perf_counter() - began < patience):
            time.sleep(0.3)
            quiet = use.others() < 2 * QUIET
            if not quiet and len(processors) >= rounds:
                continue
            taken, used = [], []
            for order in orders.values():
                before = time.perf_counter(), use.main(), use.ours()
                order(steps)
                wall, main, ours = np.subtract((time.perf_counter(), use.main(), use.ours()), before) / steps
                taken.append(wall)
                used += [main, ours - main]
            processors.append(used)
            if quiet and use.others() < QUIET:
                walls.append(taken)
    rollouts.close()
    row: dict[str, str | float] = {"policy": policy, "env": env, "n_envs": n_envs, "learning_us": round(1e6 * learning)}
    main, workers, main_together, workers_together, _, _ = np.median(processors, axis=0).tolist()
    row |= {
        "main_us": round(1e6 * main),
        "workers_us": round(1e6 * workers),
        "main_together_us": round(1e6 * main_together),
        "workers_together_us": round(1e6 * workers_together),
        "quiet_rounds": len(walls),
    }
    return row | (_cells(np.array(walls).T, learning) if walls else {})


def _cells(walls: NDArray[np.float64], learning: float) -> dict[str, str | float]:
    """Microseconds per step of all environments, and how many times as fast rollouts and all of training become."""
    in_turn, *halves = walls
    cells: dict[str, str | float] = {"in_turn_us": round(1e6 * Spread.of(in_turn).median)}
    for name, seconds in zip(("together", "freely"), halves, strict=True):
        faster = ratio(in_turn, seconds)
        cells |= {
            f"{name}_rollout": round(faster.median, 3),
            f"{name}_rollout_q1": round(faster.lower, 3),
            f"{name}_rollout_q3": round(faster.upper, 3),
            f"{name}_training": round(ratio(in_turn + learning, seconds + learning).median, 3),
        }
    return cells


@dataclass(frozen=True)
class Options:
    """Compares rollouts with and without overlap."""

    out: Path = Path("overlap.csv")
    """The table."""
    rounds: int = 7
    """How often each order is timed."""
    patience: float = 120.0
    """Seconds that are waited, for each line of the table, until the machine was quiet that often."""
    cases: tuple[int, ...] = ()
    """Numbers of lines of the table, from 0; none: all."""


def main(options: Options) -> None:
    """Measure all cases, and write the table after each."""
    rows: list[dict[str, str | float]] = []
    for number, case in enumerate(CASES):
        if options.cases and number not in options.cases:
            continue
        rows.append(measure(*case, rounds=options.rounds, patience=options.patience))
        print(rows[-1], flush=True)
        fullest = max(rows, key=len)
        write_atomically(options.out, csv_table(list(fullest), rows))


if __name__ == "__main__":
    main(tyro.cli(Options))
