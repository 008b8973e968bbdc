"""What runs in a worker of :class:`s7rl.agents.workers.WorkerVecEnv`: one environment that answers to a pipe.

A worker is a fresh Python: it inherits no threads, locks or CUDA contexts, does not import the user's main script (so
that needs no ``if __name__ == "__main__"``), and imports neither torch nor stable_baselines3.  The commands are those
of SB3's ``SubprocVecEnv``; an answer is a pair, ``(value, None)`` or ``(None, Failure)``.  It ends when its pipe does,
also where the process at the other end was killed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from s7rl.agents.environment_pickle import answer
from s7rl.agents.observation_buffers import ObservationBuffers
from s7rl.checks import one_line
from s7rl.envs import make_env
from s7rl.envs.registry import find_spec

BOOTSTRAP = (
    "import sys; from multiprocessing.connection import Connection; line = Connection(int(sys.argv[1])); "
    "sys.path[:] = line.recv(); from s7rl.agents.worker_process import serve; serve(line, int(sys.argv[2]))"
)
"""Program of a worker.  Its arguments are the descriptors of its pipe and of the memory for observations; the first
message is where to import from."""
CLOSE_SECONDS = 5.0
"""What an environment has for its ``close``, and for the step that it is in."""


@dataclass(frozen=True)
class MakeEnv:
    """Makes an environment by its id, in a process where nobody has registered the user's own ids."""

    env_id: str
    """As :func:`s7rl.envs.make_env` takes it."""
    env_kwargs: dict[str, Any]
    """Keyword arguments of the environment."""
    wrappers: tuple[str, ...]
    """What stands around it."""
    spec: EnvSpec
    """What the id stands for in the process that asks for it."""

    def __call__(self) -> gym.Env[Any, Any]:
        """Make one."""
        with suppress(ValueError):  # the id is of the user's own, and registered where the user's script has run only
            find_spec(self.env_id)
        gym.registry[self.spec.id] = self.spec
        return make_env(self.env_id, self.env_kwargs, wrappers=self.wrappers)


class Failure(NamedTuple):
    """An exception in a worker."""

    kind: str
    """Name of its class."""
    text: str
    """What it says, in one line."""
    where: str
    """What the environment was doing: "step", "reset", which a step may lead to, or the command."""
    traceback: str
    """As Python prints it, from the environment's code on."""


class EnvironmentProcess:
    """One environment and what it is asked to do."""

    def __init__(self, memory: int) -> None:
        """Args: memory: descriptor of the file for observations, empty so far."""
        self.env: Any = None
        self.where = "make"
        self.reset_info: dict[str, Any] = {}
        self._memory = memory
        self._number = 0
        self._shared: ObservationBuffers | None = None

    def handle(self, command: str, data: Any) -> Any:
        """Carry out one command and return what it gives."""
        handler: Callable[[Any], Any] = getattr(self, f"do_{command}")
        return handler(data)

    def do_make(self, maker: bytes) -> Any:
        """Make the environment from a pickled function; its spaces."""
        self.env = pickle.loads(maker)()
        if not isinstance(self.env, gym.Env):
            raise TypeError(f"what was made is no gymnasium.Env but {type(self.env).__name__}")
        return self.env.observation_space, self.env.action_space

    def do_share(self, data: tuple[gym.Space[Any], int, int, int]) -> None:
        """Send observations through shared memory from now on: space, environments, bytes, own number."""
        space, num_envs, size, self._number = data
        self._shared = ObservationBuffers(space, num_envs, mmap.mmap(self._memory, size))

    def do_step(self, action: Any) -> Any:
        """Step, and begin the next episode where one ends."""
        self.where = "step"
        observation, reward, terminated, truncated, info = self.env.step(action)
        done = terminated or truncated
        info["TimeLimit.truncated"] = truncated and not terminated
        if done:
            info["terminal_observation"] = observation
            observation = self._reset({})
        return self._send(observation), float(reward), bool(done), info, self.reset_info

    def do_reset(self, data: tuple[int | None, dict[str, Any]]) -> Any:
        """Begin an episode with a seed, or None, and options."""
        seed, options = data
        return self._send(self._reset({"seed": seed, **({"options": options} if options else {})})), self.reset_info

    def do_get_attr(self, name: str) -> Any:
        """An attribute of the environment or of a wrapper of it."""
        return self.env.get_wrapper_attr(name)

    def do_has_attr(self, name: str) -> bool:
        """Whether there is such an attribute."""
        return bool(self.env.has_wrapper_attr(name))

    def do_set_attr(self, data: tuple[str, Any]) -> None:
        """Set an attribute of the outermost wrapper, as SB3 does."""
        setattr(self.env, *data)

    def do_env_method(self, data: tuple[str, tuple[Any, ...], dict[str, Any]]) -> Any:
        """Call a method."""
        name, args, kwargs = data
        return self.env.get_wrapper_attr(name)(*args, **kwargs)

    def do_is_wrapped(self, wrapper: tuple[str, str]) -> bool:
        """Whether the environment stands in a wrapper of the class with that module and name."""
        env = self.env
        while isinstance(env, gym.Wrapper):
            if any((kind.__module__, kind.__qualname__) == wrapper for kind in type(env).__mro__):
                return True
            env = env.env
        return False

    def do_render(self, data: None) -> Any:
        """A picture."""
        return self.env.render()

    def do_ask(self, data: tuple[Callable[..., Any], tuple[Any, ...]]) -> Any:
        """Call a function with the whole environment."""
        function, arguments = data
        return answer(function, self.env, arguments)

    def failure(self, command: str, error: BaseException) -> Failure:
        """What is to be said of an exception."""
        where = self.where if command == "step" else command or "recv"
        inner = error.__traceback__
        while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
            inner = inner.tb_next
        printed = "".join(traceback.format_exception(type(error), error, inner or error.__traceback__))
        return Failure(type(error).__name__, one_line(str(error)), where, printed)

    def _reset(self, arguments: dict[str, Any]) -> Any:
        self.where = "reset"
        observation, self.reset_info = self.env.reset(**arguments)
        return observation

    def _send(self, observation: Any) -> Any:
        if self._shared is None:
            return observation
        self._shared.write(self._number, observation)
        return None


def serve(line: Connection, memory: int) -> None:
    """Answer commands until the other end closes the pipe."""
    # The main process decides when to end, and may want a checkpoint after Ctrl-C.  Handlers, since what is ignored
    # would also be ignored by programs that the environment starts.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Thread(target=_end_with, args=(line.fileno(),), daemon=True).start()
    worker = EnvironmentProcess(memory)
    while True:
        command, failure, value = "", None, None
        try:
            command, data = line.recv()
            value = worker.handle(command, data)
        except BaseException as error:  # SystemExit, too: an environment must not end its process unexplained.
            if not command and isinstance(error, EOFError | OSError):
                break
            failure = worker.failure(command, error)
        if not _sent(line, (value, failure), partial(worker.failure, command)):
            break
    if worker.env is not None:
        worker.env.close()


def _sent(line: Connection, message: tuple[Any, Any], failed: Callable[[BaseException], Failure]) -> bool:
    """Whether an answer, or why it does not pickle, has got to the other end."""
    try:
        try:
            line.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return False
        except Exception as error:
            line.send((None, failed(error)))
    except OSError:
        return False
    return True


def _end_with(descriptor: int) -> None:
    """End this process a while after the other end of its pipe closed, whatever the environment is doing."""
    hung_up = select.poll()
    hung_up.register(descriptor, 0)
    hung_up.poll()
    time.sleep(CLOSE_SECONDS)
    os._exit(1)
