"""The example of an agent without torch: it plays as the agent does, in a process that has no torch."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from s7rl.agents import RecurrentPPO, export_agent, make_vec
from s7rl.experiments.evaluation import play_episodes

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_agent.py"
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import gymnasium
import onnx_agent
env = gymnasium.make("s7rl.envs:s7rl/RepeatPrevious-v0", k=2)
returns = onnx_agent.main(sys.argv[2], env, episodes=2)
assert "torch" not in sys.modules
print(json.dumps(returns))
"""


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnxruntime", "onnxscript"))), reason="needs the extra onnx"
)
def test_the_example_plays_as_the_agent_does_without_torch(tmp_path: Path) -> None:
    policy_kwargs = {"d_model": 8, "d_state": 4}
    env = make_vec("s7rl/RepeatPrevious-v0", 1, 0, {"k": 2})
    model = RecurrentPPO("MlpPolicy", env, policy_kwargs=policy_kwargs, n_steps=8, seed=0, device="cpu")
    model.learn(16)
    model.save(tmp_path / "agent")
    export_agent(tmp_path / "agent", tmp_path / "agent.onnx")
    words = [sys.executable, "-c", PROGRAM, str(EXAMPLE.parent), str(tmp_path / "agent.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, said, returns = done.stdout.splitlines()
    assert said.startswith("2 episodes, mean return ")
    wanted: list[float] = []
    for seed in (10_000, 10_001):
        (evaluation,) = play_episodes(model, make_vec("s7rl/RepeatPrevious-v0", 1, seed, {"k": 2}), 1)
        wanted += evaluation.returns
    assert json.loads(returns) == pytest.approx(wanted)
