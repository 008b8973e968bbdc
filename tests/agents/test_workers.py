"""Whatever an environment in a worker does, the call ends with an error that says so, and nothing is left behind.

Mutations seen to fail: the worker catches Exception alone; no look at other workers while one takes its time, and no
deadline (both hang); the deadline of the first answer kept; no kill after the grace; the other answers to a question
that failed left in their pipes; observations not written to shared memory, or handed out without a copy; no handlers
for signals; no end with the parent (hangs); rewards in float64; wrappers compared without those they inherit from;
episodes counted, or seeds kept, anew in a run that is resumed; episodes not counted, or not from each seed;
steps not counted from each reset.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from s7rl.agents import WorkerError, WorkerVecEnv, workers
from s7rl.agents.environment_state import restore_environments, save_environments
from tests.agents.troubled import Pair, Troubled, make_pair

LONG = 120.0
"""Seconds that no worker here needs unless it hangs."""


def children() -> set[int]:
    """Process ids of this process's children, dead ones that are not reaped included."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() == before


def fleet(*troubles: Callable[[], gym.Env[Any, Any]], timeout: float | None = LONG) -> WorkerVecEnv:
    env = WorkerVecEnv([Troubled, *troubles], timeout)
    env.seed(10)
    return env


def go_on(env: WorkerVecEnv) -> None:
    env.reset()
    for _ in range(10):
        env.step(np.zeros(env.num_envs, np.int64))


@pytest.mark.parametrize(
    ("trouble", "where", "text"),
    [
        (
            "raise",
            "step",
            r"environment 1 \(seeded with 11\) raised ValueError in step 2 of its episode 2: the door is stuck",
        ),
        (
            "raise",
            "reset",
            r"environment 1 \(seeded with 11\) raised ValueError in the reset that begins its episode 3: .*",
        ),
        ("raise", "constructor", r"environment 1 raised ValueError in its constructor: the door is stuck"),
        ("SystemExit", "step", r"environment 1 \(seeded with 11\) raised SystemExit in step 2 of its episode 2: 3"),
        (
            "exit",
            "step",
            r"the worker of environment 1 \(seeded with 11\) ended with exit code 7 when it was asked to `step`",
        ),
        ("exit", "constructor", r"the worker of environment 1 ended with exit code 7 when it was asked to `make`"),
        (
            "SIGKILL",
            "step",
            r"the worker of environment 1 \(.*\) was killed by SIGKILL \(is memory short\?\) when .* `step`",
        ),
        ("SIGSEGV", "reset", r"the worker of environment 1 \(seeded with 11\) was killed by SIGSEGV when .* `step`"),
    ],
)
def test_a_failure_ends_the_call_with_one_line_that_says_which_and_why(trouble: str, where: str, text: str) -> None:
    at = 3 if where == "reset" else 5
    with pytest.raises(WorkerError) as caught:
        go_on(fleet(partial(Troubled, trouble, where, at)))
    assert re.fullmatch(text, str(caught.value))  # pytest's match would see the notes, too.
    assert caught.value.number == 1
    if trouble in ("raise", "SystemExit"):
        assert caught.value.failure is not None
        printed = caught.value.failure.traceback
        assert printed.startswith("Traceback")
        assert "troubled.py" in printed
        assert "worker_process.py" not in printed
        if sys.version_info >= (3, 11):
            assert printed in caught.value.__notes__[0]
    else:
        assert caught.value.failure is None


def test_episodes_are_counted_from_where_a_run_was_saved_not_from_where_it_is_resumed() -> None:
    before, after = fleet(partial(Troubled, "raise")), fleet(partial(Troubled, "raise"))
    before.reset()
    before.seed(10)
    before.reset()  # A seed begins the count.
    for _ in range(4):  # an episode of 3 steps, and a step of the next
        before.step(np.zeros(2, np.int64))
    restore_environments(after, save_environments(before))
    before.close()
    with pytest.raises(
        WorkerError, match=r"^environment 1 \(seeded with 11\) raised ValueError in step 2 of its episode 2"
    ):
        after.step(np.zeros(2, np.int64))


def test_one_that_hangs_is_named_after_the_time_out_and_killed() -> None:
    env = fleet(partial(Troubled, "busy", at=1))
    env.reset()
    env.timeout = 0.5
    with pytest.raises(WorkerError, match=r"^environment 1 \(seeded with 11\) did not answer `step` within 0.5 s: .*$"):
        env.step(np.zeros(2, np.int64))


def test_a_constructor_that_hangs_is_noticed_as_well() -> None:
    with pytest.raises(WorkerError, match=r"^environment 0 did not answer `make` within 1 s: .*$"):
        WorkerVecEnv([partial(Troubled, "asleep", "constructor")], 1.0)


def test_a_death_is_noticed_while_another_takes_its_time_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CLOSE_SECONDS", 0.2)
    with pytest.raises(WorkerError, match=r"the worker of environment 1 ended with exit code 7"):
        go_on(WorkerVecEnv([partial(Troubled, "asleep"), partial(Troubled, "exit")], None))


def test_a_time_out_counts_from_each_command_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    env = WorkerVecEnv([partial(Troubled, "slow", at=2)], 1000.0)
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    env.reset()
    for _ in range(2):
        now[0] += 990.0
        env.step(np.zeros(1, np.int64))
    monkeypatch.undo()
    env.close()


def test_after_a_failure_it_says_that_it_has_ended_and_closing_again_is_no_error() -> None:
    env = fleet(partial(Troubled, "raise"))
    with pytest.raises(WorkerError):
        go_on(env)
    for call in (env.reset, lambda: env.step(np.zeros(2, np.int64)), lambda: env.get_attr("pid")):
        with pytest.raises(WorkerError, match=r"^the workers have ended: make the environments anew$"):
            call()
    env.close()


def test_what_does_not_pickle_is_named_as_an_error_of_the_step() -> None:
    with pytest.raises(WorkerError, match=r"^environment 1 .* raised \w+ in step 2 of its episode 2: .*lambda"):
        go_on(fleet(partial(Troubled, "unpicklable info")))


def test_a_question_that_fails_leaves_the_environments_as_they_are() -> None:
    env = fleet(partial(Troubled, "mallory"), Troubled)
    env.reset()
    with pytest.raises(WorkerError, match=r"^environment 1 .* raised ValueError in `env_method`: mallory complains"):
        env.env_method("complain", "mallory")
    with pytest.raises(AttributeError, match="no_such_name"):
        env.get_attr("no_such_name")
    assert env.env_method("complain", "alice") == ["alice"] * 3
    assert env.get_attr("at", [2, 0]) == [5, 5]
    assert env.has_attr("trouble")
    assert not env.has_attr("no_such_name")
    assert env.env_is_wrapped(Monitor) == [False] * 3
    env.set_attr("at", 9, indices=1)
    assert env.get_attr("at") == [5, 9, 5]
    env.step(np.zeros(3, np.int64))
    env.close()


def test_workers_import_neither_torch_nor_the_main_script_and_stay_out_of_ctrl_c() -> None:
    env = fleet()
    env.reset()
    (imports,) = env.env_method("imports")
    assert {"torch", "stable_baselines3", "pytest", "test_workers"}.isdisjoint(imports)
    (pid,) = env.get_attr("pid")
    assert pid != os.getpid()
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    env.step(np.zeros(1, np.int64))
    env.close()


def test_closing_in_the_middle_of_a_step_that_hangs_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CLOSE_SECONDS", 0.2)
    env = fleet(partial(Troubled, "busy", at=1), timeout=None)
    env.reset()
    env.step_async(np.zeros(2, np.int64))
    env.close()


@pytest.mark.parametrize("make", [Troubled, make_pair], ids=["Box", "Dict"])
def test_everything_is_as_with_dummy_vec_env(make: Callable[[], gym.Env[Any, Any]]) -> None:
    both: list[Any] = [WorkerVecEnv([make] * 3), DummyVecEnv([make] * 3)]
    for env in both:
        env.seed(7)
    first, second = [both[0].reset(), both[1].reset()]
    kept: list[Any] = []
    for _ in range(8):
        assert_same(first, second)
        kept.append(first)
        ours, theirs = [env.step(np.array([0, 1, 0])) for env in both]
        assert type(ours[3]) is list
        for a, b in zip(ours[1:3], theirs[1:3], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        for a, b in zip(ours[3], theirs[3], strict=True):
            assert a.keys() == b.keys()
            assert a["TimeLimit.truncated"] == b["TimeLimit.truncated"]
            if "terminal_observation" in a:
                assert_same(a["terminal_observation"], b["terminal_observation"])
        first, second = ours[0], theirs[0]
    # What was handed out is not overwritten.
    assert len({np.asarray(x["point"] if isinstance(x, dict) else x).tobytes() for x in kept}) == 8
    both[0].close()


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def test_wrappers_are_found_by_their_class_or_one_that_it_inherits_from() -> None:
    env = WorkerVecEnv([Troubled, make_pair])
    assert env.env_is_wrapped(Pair) == env.env_is_wrapped(gym.ObservationWrapper) == [False, True]
    env.close()


def test_nested_observations_come_as_from_sb3() -> None:
    class Nested(Troubled):
        observation_space = spaces.Tuple([Troubled.observation_space, spaces.Discrete(2)])

        def _draw(self) -> Any:
            return super()._draw(), 1

    env = WorkerVecEnv([Nested] * 2)
    points, ones = env.reset()
    assert np.shape(points) == (2, 3)
    assert list(ones) == [1, 1]
    env.close()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([], 1.0), ValueError, r"env_fns is empty"),
        (([Troubled], 0), ValueError, r"timeout is 0, but .*: pass a number above 0, or None\."),
        (([Troubled], "1 s"), TypeError, r"timeout is '1 s'"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_wrong_arguments_are_refused_in_one_line(arguments: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"^{text}[^\n]*$"):
        WorkerVecEnv(*arguments)


PARENT = """
import numpy as np
from functools import partial
from s7rl.agents import WorkerVecEnv
from tests.agents.troubled import Troubled
env = WorkerVecEnv([Troubled, partial(Troubled, "busy", at=1)])
env.reset()
print(*env.get_attr("pid"), flush=True)
env.step(np.zeros(2, int))
"""


def test_workers_end_with_a_parent_that_is_killed_even_where_they_hang(tmp_path: Path) -> None:
    # A main script without `if __name__ == "__main__"`.
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + LONG
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
