"""The cart-pole of which an agent sees a part: positions alone, velocities alone, or everything behind noise.

Positions alone do not tell where a system is going: an agent must remember at least the last observation and
compare.  Velocities alone do not tell where it is: they must be added up.  Behind noise, many readings tell more than
one.  The physics is Gymnasium's ``CartPole-v1`` (Gymnasium 1.4, ``envs/classic_control/cartpole.py``, Euler
integration), batched; equal seeds give equal trajectories.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from s7rl.envs.batched import BoolArray, Engine, EngineEnv, EngineVectorEnv, IntArray, StepResult

GRAVITY = 9.8  # m/s^2
CART_MASS = 1.0  # kg
POLE_MASS = 0.1  # kg
HALF_POLE_LENGTH = 0.5  # m
FORCE = 10.0  # N
TIME_STEP = 0.02  # s
MAX_POSITION = 2.4  # m from the centre
MAX_ANGLE = 12 * 2 * math.pi / 360  # rad from the vertical
EPISODE_LENGTH = 500
START_RANGE = 0.05
NOISE = (0.12, 0.1, 0.01, 0.1)
"""Standard deviations of the noise, in m, m/s, rad and rad/s: 5 % of what the cart-pole typically reaches."""

_TOTAL_MASS = CART_MASS + POLE_MASS
_POLE_MASS_LENGTH = POLE_MASS * HALF_POLE_LENGTH
_STATE_SCALE = 1_000_000  # the hidden state is reported in millionths of a unit


class CartPoleEngine(Engine):
    """The physics of the cart-pole; a column of the state is (position, velocity, angle, angular velocity)."""

    visible: tuple[int, ...] = (0, 1, 2, 3)
    """Which of the four entries the agent sees, in order."""
    noise: tuple[float, ...] | None = None
    """Standard deviation of the Gaussian noise on each visible entry; None adds none."""

    def __init__(self, num_envs: int) -> None:
        """Build ``num_envs`` cart-poles."""
        super().__init__(num_envs)
        high = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf], dtype=np.float32)[list(self.visible)]
        if self.noise is not None:
            high[:] = np.inf
        self.observation_space = spaces.Box(-high, high, dtype=np.float32)
        self.action_space = spaces.Discrete(2)
        self._visible = list(self.visible)
        self._state: NDArray[np.float64] = np.zeros((4, num_envs))
        self._steps: IntArray = np.zeros(num_envs, dtype=np.int64)
        self._noise_scale = np.array(0.0 if self.noise is None else self.noise)
        self._noise: NDArray[np.float64] = np.zeros((num_envs, len(self.visible)))
        self._tape = None if self.noise is None else self.new_tape("normal")
        self._rows: IntArray = np.arange(num_envs)
        self._renderer: gym.Env[Any, Any] | None = None

    def begin_episodes(self, rows: IntArray) -> None:
        """Draw all four numbers uniformly near 0."""
        for row in rows.tolist():
            self._state[:, row] = self.generator(row).uniform(low=-START_RANGE, high=START_RANGE, size=(4,))
        self._steps[rows] = 0
        self._draw_noise(rows)

    def advance(self, actions: NDArray[Any]) -> StepResult:
        """Push every cart and integrate one time step."""
        x, x_dot, theta, theta_dot = self._state
        force = np.where(actions == 1, FORCE, -FORCE)
        cos, sin = np.cos(theta), np.sin(theta)
        # The order of the operations is Gymnasium's, so that rounding is the same.
        temp = (force + _POLE_MASS_LENGTH * np.square(theta_dot) * sin) / _TOTAL_MASS
        theta_acc = (GRAVITY * sin - cos * temp) / (
            HALF_POLE_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cos) / _TOTAL_MASS)
        )
        x_acc = temp - _POLE_MASS_LENGTH * theta_acc * cos / _TOTAL_MASS
        self._state = np.stack(
            [
                x + TIME_STEP * x_dot,
                x_dot + TIME_STEP * x_acc,
                theta + TIME_STEP * theta_dot,
                theta_dot + TIME_STEP * theta_acc,
            ]
        )
        self._steps += 1
        self._draw_noise(self._rows)
        terminated = (np.abs(self._state[0]) > MAX_POSITION) | (np.abs(self._state[2]) > MAX_ANGLE)
        return np.ones(self.num_envs), terminated, self._steps >= EPISODE_LENGTH

    def observations(self) -> NDArray[np.float32]:
        """Return the visible entries, with this step's noise."""
        seen: NDArray[np.float32] = (self._state[self._visible].T + self._noise).astype(np.float32)
        return seen

    def successes(self) -> BoolArray:
        """Return whether the pole stood until the time limit."""
        upright: BoolArray = (np.abs(self._state[0]) <= MAX_POSITION) & (np.abs(self._state[2]) <= MAX_ANGLE)
        return upright & (self._steps >= EPISODE_LENGTH)

    def states(self) -> IntArray:
        """Return position, velocity, angle, angular velocity in millionths of SI units, and the number of steps."""
        scaled = np.rint(self._state * _STATE_SCALE).astype(np.int64)
        states: IntArray = np.concatenate([scaled, self._steps[np.newaxis]]).T
        return states

    def render_row(self, row: int) -> Any:
        """Let Gymnasium's own CartPole draw the state."""
        if self._renderer is None:
            self._renderer = gym.make("CartPole-v1", render_mode="rgb_array", disable_env_checker=True).unwrapped
        self._renderer.state = self._state[:, row].copy()  # type: ignore[attr-defined]
        return self._renderer.render()

    def _draw_noise(self, rows: IntArray) -> None:
        if self._tape is not None:
            self._noise[rows] = self._noise_scale * self._tape.take(rows, len(self._visible))


class PositionOnlyEngine(CartPoleEngine):
    """The cart-pole without velocities."""

    visible = (0, 2)


class VelocityOnlyEngine(CartPoleEngine):
    """The cart-pole without positions."""

    visible = (1, 3)


class NoisyEngine(CartPoleEngine):
    """The cart-pole behind noise."""

    noise = NOISE


class _CartPole(EngineEnv):
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (as Gymnasium declares it)


class CartPolePositionOnly(_CartPole):
    """Cart-pole with hidden velocities.

    ## Description

    Gymnasium's ``CartPole-v1`` of which the agent sees the cart's position and the pole's angle, entries 0 and 2.
    Hidden are both velocities, entries 1 and 3.  Without them the agent cannot tell a falling pole from a rising one.

    ## Action Space

    `Discrete(2)`: 0 pushes the cart to the left, 1 to the right.

    ## Observation Space

    `Box(2,)`, float32:

    | Num | Observation   | Min            | Max           |
    |-----|---------------|----------------|---------------|
    | 0   | Cart position | -4.8 m         | 4.8 m         |
    | 1   | Pole angle    | -0.418 rad     | 0.418 rad     |

    ## Rewards

    1 for every step, the last one included.  The optimum is 500.

    ## Starting State

    All four hidden numbers uniform in (-0.05, 0.05).

    ## Episode End

    1. Termination: the pole leans more than 12 degrees (0.209 rad), or the cart's centre is more than 2.4 m from the
       middle.
    2. Truncation: after 500 steps.

    ``info["is_success"]`` at the last step tells whether the pole stood for 500 steps.

    ## Arguments

    * ``render_mode`` (None or "rgb_array"; drawing needs pygame).

    ## Version History

    * v0: initial version; equal to Gymnasium 1.4's ``CartPole-v1``, seed by seed.

    ## References

    * Barto, Sutton and Anderson (1983), "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control
      Problems", IEEE Transactions on Systems, Man, and Cybernetics 13(5).
    """

    engine = PositionOnlyEngine


class CartPolePositionOnlyVector(EngineVectorEnv):
    """Many cart-poles with hidden velocities; rules and arguments are in ``CartPolePositionOnly``."""

    engine = PositionOnlyEngine


class CartPoleVelocityOnly(_CartPole):
    """Cart-pole with hidden positions: ``CartPolePositionOnly`` with the other half in view.

    ## Observation Space

    `Box(2,)`, float32: the cart's velocity in m/s and the pole's angular velocity in rad/s, entries 1 and 3 of
    Gymnasium's ``CartPole-v1``; both unbounded.

    Actions, rewards, start, episode end, arguments and info are those of ``CartPolePositionOnly``.

    ## Version History

    * v0: initial version; equal to Gymnasium 1.4's ``CartPole-v1``, seed by seed.
    """

    engine = VelocityOnlyEngine


class CartPoleVelocityOnlyVector(EngineVectorEnv):
    """Many cart-poles with hidden positions; rules and arguments are in ``CartPoleVelocityOnly``."""

    engine = VelocityOnlyEngine


class CartPoleNoisy(_CartPole):
    """Cart-pole behind noise.

    ## Observation Space

    `Box(4,)`, float32, unbounded: the four numbers of Gymnasium's ``CartPole-v1``, each plus Gaussian noise that is
    drawn anew at every step, the first one included.  The standard deviations are 0.12 m, 0.1 m/s, 0.01 rad and
    0.1 rad/s.  The physics sees no noise.

    Actions, rewards, start, episode end, arguments and info are those of ``CartPolePositionOnly``.

    ## Version History

    * v0: initial version; without its noise equal to Gymnasium 1.4's ``CartPole-v1`` within the first episode after
      a seed (the noise comes from the same generator, so that later episodes start elsewhere).
    """

    engine = NoisyEngine


class CartPoleNoisyVector(EngineVectorEnv):
    """Many cart-poles behind noise; rules and arguments are in ``CartPoleNoisy``."""

    engine = NoisyEngine
