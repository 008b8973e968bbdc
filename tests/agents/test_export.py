"""What is exported acts as the agent does, for every core, kind of action and kind of observation.

Mutations seen to fail: a state that is not cleared, or a step late; observations that are not scaled, or not clipped;
actions not counted from their start, not clipped, not squashed; noise that is left out; entries of a Dict in another
order; sizes by len(x), which record a batch of fixed size; the function of Python behind full selectivity;
a suffix not looked at, or one that goes not with the format let through; asinh left out of the readout of ONNX.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from s7rl import core_names
from s7rl.agents import RecurrentPPO, export_agent
from s7rl.agents.distributions import mask_parts
from s7rl.agents.export import FORMATS, load_step
from s7rl.agents.policies import RecurrentActorCriticPolicy
from tests.agents.configurations import Drawn

pytestmark = [
    pytest.mark.usefixtures("as_users_run_it"),  # torch records sizes that are no numbers
    pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
]
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnxruntime", "onnxscript"))), reason="needs the extra onnx"
)
ACTIONS = {
    "discrete": spaces.Discrete(4, start=-2),
    "multi_discrete": spaces.MultiDiscrete(np.array([[2, 3], [4, 1]]), start=np.array([[1, 0], [5, -1]])),
    "multi_binary": spaces.MultiBinary([2, 2]),
    "box": spaces.Box(np.array([-0.1, -0.2], np.float32), np.array([0.1, 0.3], np.float32)),
}
SMALL: dict[str, Any] = {"d_model": 8, "d_state": 4}


@pytest.fixture(autouse=True, scope="module")
def _torch_reads_its_table_of_onnx_once() -> Iterator[None]:
    """Each export reads it anew, which takes as long as all that is done with it."""
    if not importlib.util.find_spec("onnxscript"):
        yield
        return
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield


def agent(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *, scaled: bool = False, **options: Any
) -> RecurrentPPO:
    """An agent with weights large enough that its actions differ, in environments with known statistics if scaled."""
    env: Any = DummyVecEnv([lambda: Drawn(observation_space, action_space, 0)])
    if scaled:
        env = VecNormalize(env, clip_obs=1.5)
        env.obs_rms.mean, env.obs_rms.var = np.array([0.3, -0.2, 0.1]), np.array([0.4, 0.1, 2.0])
    policy = "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    policy_kwargs = SMALL | options.pop("policy_kwargs", {})
    model = RecurrentPPO(policy, env, policy_kwargs=policy_kwargs, n_steps=2, seed=0, device="cpu", **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.action_net.parameters():
            parameter.normal_()
        for name, parameter in model.policy.named_parameters():
            if any(part in name for part in ("selection", "spread", "modulate")):
                parameter.normal_(std=0.1)  # zero at first, which would leave half of S7 out
    return model


class Halved(BaseFeaturesExtractor):
    """A features extractor of a class that no file may name."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=3)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return observations / 2


class Session:
    """An ONNX file, run as examples/onnx_agent.py does."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        names = [given.name for given in self.session.get_inputs()]
        action, state = self.session.run(["action", "next_state"], dict(zip(names, inputs, strict=True)))
        return action, state


# A linear core and a gated one; the others, some seconds each, are slow ones.
QUICK = ("s7", "gru")


@needs_onnx
@pytest.mark.parametrize(
    ("core", "options"),
    [
        *((core, {}) for core in QUICK),
        ("s7", {"rectified": True, "readout": "asinh"}),
        *(
            pytest.param(core, {"window": 5} if core == "gtrxl" else {}, marks=pytest.mark.slow)
            for core in core_names()
            if core not in QUICK
        ),
    ],
)
def test_onnx_runtime_repeats_a_thousand_steps_over_resets(core: str, options: dict[str, Any], tmp_path: Path) -> None:
    steps, batch = 1_000, 3
    action_space = spaces.Box(-1e3, 1e3, (2,))
    policy_kwargs = {"core": core, "core_kwargs": options, "critic_core": "separate"}
    model = agent(spaces.Box(-9.0, 9.0, (3,)), action_space, scaled=True, policy_kwargs=policy_kwargs)
    model.save(tmp_path / "agent")
    export_agent(tmp_path / "agent", tmp_path / "agent.onnx")
    policy, normalizer = model.policy, model.get_vec_normalize_env()
    assert isinstance(policy, RecurrentActorCriticPolicy)
    assert normalizer is not None

    rng = np.random.default_rng(0)
    observations = rng.normal(size=(steps, batch, 3)).astype(np.float32)
    starts = rng.random((steps, batch)) < 0.01
    starts[0] = True
    with torch.no_grad():
        scaled = torch.as_tensor(normalizer.normalize_obs(observations))
        # As it learns: in one scan, by the fastest kernels that there are.
        latent, _, last = policy._recur(scaled, policy.initial_state(batch), torch.as_tensor(starts))
        wanted = policy.action_net(latent).unflatten(0, (steps, batch)).numpy()

    session = Session(tmp_path / "agent.onnx")
    state, noise = np.zeros((batch, policy.state_size), np.float32), np.zeros((batch, 2), np.float32)
    found = np.empty_like(wanted)
    for step in range(steps):
        found[step], state = session(observations[step], state, starts[step], noise)
    assert wanted.std(axis=0).min() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    # Cosines of S4D's angles of ten radians differ in their last digit, over hundreds of steps.
    np.testing.assert_allclose(state, last.numpy(), rtol=1e-4, atol=3e-5)


def play(model: RecurrentPPO, step: Any, *, masked: bool) -> None:
    """Compares a few steps of what was exported with those of the agent, of single and several environments."""
    rng = np.random.default_rng(0)
    space, action_space = model.observation_space, model.action_space
    space.seed(0)
    varied = set()
    for batch in (1, 4):
        state: Any = np.zeros((batch, model.policy.state_size), np.float32)
        for _ in range(12):
            samples = [space.sample() for _ in range(batch)]
            leaves = (
                [np.stack([sample[key] for sample in samples]) for key in space.spaces]
                if isinstance(space, spaces.Dict)
                else [np.stack(samples)]
            )
            shown = dict(zip(space.spaces, leaves, strict=True)) if isinstance(space, spaces.Dict) else leaves[0]
            start = rng.random(batch) < 0.2
            noise = np.zeros((batch, step_noise(action_space)), np.float32)
            masks = {}
            if masked:
                allowed = np.concatenate([some_allowed(rng, batch, n) for n in mask_parts(action_space)], axis=1)
                masks = {"action_masks": allowed}
                noise = forbidding(allowed, action_space)
            wanted, after = model.predict(shown, state, start, deterministic=True, **masks)
            action, next_state = step(*leaves, state, start, noise)
            assert action.dtype == wanted.dtype
            np.testing.assert_allclose(action, wanted, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(next_state, after, rtol=1e-5, atol=1e-5)
            assert all(action_space.contains(one) for one in action)
            varied |= {str(one) for one in action}
            state = next_state
    assert len(varied) > 1


def step_noise(space: spaces.Space[Any]) -> int:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return sum(mask_parts(space))
    return int(np.prod(space.shape or ()))


def some_allowed(rng: np.random.Generator, batch: int, number: int) -> NDArray[np.bool_]:
    allowed = rng.random((batch, number)) < 0.5
    allowed[np.arange(batch), rng.integers(number, size=batch)] = True
    return allowed


def forbidding(allowed: NDArray[np.bool_], space: spaces.Space[Any]) -> NDArray[np.float32]:
    """The noise of zeros that leaves only what is allowed."""
    if isinstance(space, spaces.MultiBinary):
        zero, one = allowed[:, ::2], allowed[:, 1::2]
        return np.where(zero & one, 0.0, np.where(one, np.inf, -np.inf)).astype(np.float32)
    return np.where(allowed, 0.0, -np.inf).astype(np.float32)


MIXED = spaces.Dict(
    {
        "z": spaces.Box(0, 255, (8, 9, 3), np.uint8),
        "state": spaces.Discrete(3, start=-1),
        "a.b": spaces.MultiDiscrete([3, 2]),
        "bits": spaces.MultiBinary([2, 2]),
        "number": spaces.Box(-1.0, 1.0, (), np.float64),
    }
)


@pytest.mark.parametrize("actions", ACTIONS)
def test_a_step_takes_what_the_environment_shows_and_gives_what_it_takes(actions: str, tmp_path: Path) -> None:
    model = agent(MIXED, ACTIONS[actions])
    model.save(tmp_path / "agent")
    step = load_step(tmp_path / "agent")
    assert step.input_names[:3] == ("observation.a.b", "observation.bits", "observation.number")

    def as_arrays(*inputs: NDArray[Any]) -> Any:
        return [output.numpy() for output in step(*map(torch.as_tensor, inputs))]

    play(model, as_arrays, masked=actions != "box")


@needs_onnx
def test_an_onnx_file_has_an_input_for_each_entry_and_what_a_reader_has_to_know(tmp_path: Path) -> None:
    model = agent(MIXED, ACTIONS["multi_discrete"])
    model.save(tmp_path / "agent")
    export_agent(tmp_path / "agent", tmp_path / "agent.onnx", notes={"environment": "mine"})
    session = Session(tmp_path / "agent.onnx")
    play(model, session, masked=True)
    inputs = {given.name: (given.type, given.shape) for given in session.session.get_inputs()}
    assert inputs["observation.z"] == ("tensor(uint8)", ["batch", 3, 8, 9])  # as the agent sees it
    assert inputs["noise"] == ("tensor(float)", ["batch", 10])
    assert inputs["episode_start"] == ("tensor(bool)", ["batch"])
    facts = session.session.get_modelmeta().custom_metadata_map
    assert facts["environment"] == "mine"
    assert facts["noise"] == "gumbel"
    assert json.loads(facts["action_space"])["nvec"] == [[2, 3], [4, 1]]
    # Nothing of the machine that wrote it.
    assert b".py" not in (tmp_path / "agent.onnx").read_bytes()


@pytest.mark.parametrize("format", ["torchscript", "pt2"])
def test_torch_alone_runs_what_is_written_for_it(format: str, tmp_path: Path) -> None:
    model = agent(MIXED, ACTIONS["discrete"])
    model.save(tmp_path / "agent")
    export_agent(tmp_path / "agent", tmp_path / "agent.file", format)
    read = torch.jit.load if format == "torchscript" else lambda path: torch.export.load(path).module()
    step = read(tmp_path / "agent.file")
    play(model, lambda *inputs: [x.numpy() for x in step(*map(torch.as_tensor, inputs))], masked=True)


@pytest.mark.parametrize("name", ["agent.pt", "agent.pt2", "agent.onnx", "agent", "agent.bin"])
def test_the_format_is_that_of_the_suffix(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS["discrete"]).save(tmp_path / "saved")
    written = {format: lambda *_, name=format: name.encode() for format in FORMATS}
    monkeypatch.setattr("s7rl.agents.export.FORMATS", written)
    export_agent(tmp_path / "saved", tmp_path / name)
    expected = {".pt": b"torchscript", ".pt2": b"pt2"}.get(Path(name).suffix, b"onnx")
    assert (tmp_path / name).read_bytes() == expected


@pytest.mark.usefixtures("as_users_run_it")
def test_a_format_that_does_not_go_with_the_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^format is 'onnx', but path is '[^\n]+agent\.pt2', as of a file of pt2: "):
        export_agent(tmp_path / "saved", tmp_path / "agent.pt2", "onnx")


@pytest.mark.parametrize(
    ("core", "options"),
    [
        *((core, {}) for core in core_names()),
        ("s7", {"rank": 2}),
        ("s7", {"selectivity": "low_rank"}),
        ("s7", {"selectivity": "full"}),
        ("s7", {"rectified": True, "readout": "asinh"}),
    ],
)
def test_torchscript_takes_any_number_of_environments_of_every_core(
    core: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS["box"], policy_kwargs={"core": core, "core_kwargs": options})
    model.save(tmp_path / "agent")
    export_agent(tmp_path / "agent", tmp_path / "agent.pt", "torchscript")
    step = torch.jit.load(tmp_path / "agent.pt")
    play(model, lambda *inputs: [x.numpy() for x in step(*map(torch.as_tensor, inputs))], masked=False)


@pytest.mark.parametrize("squash", [False, True])
def test_noise_that_depends_on_the_state_is_drawn_from_its_distribution(squash: bool, tmp_path: Path) -> None:
    model = agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS["box"], use_sde=True, policy_kwargs={"squash_output": squash})
    model.save(tmp_path / "agent")
    step = load_step(tmp_path / "agent")
    play(model, lambda *inputs: [x.numpy() for x in step(*map(torch.as_tensor, inputs))], masked=False)


@pytest.mark.parametrize("actions", ACTIONS)
def test_drawn_noise_draws_from_the_policy(actions: str, tmp_path: Path) -> None:
    draws = 40_000
    model = agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS[actions])
    policy: Any = model.policy
    with torch.no_grad():
        policy.action_net.weight.mul_(0.01 if actions == "box" else 0.3)  # so that no action is left out
        if actions == "box":
            policy.action_net.bias.zero_()
            policy.log_std.fill_(-2.5)
    model.save(tmp_path / "agent")
    step = load_step(tmp_path / "agent")
    rng = np.random.default_rng(0)
    shape = draws, step.noise_size
    drawn = {"gumbel": rng.gumbel, "logistic": rng.logistic, "normal": rng.normal}[step.noise_kind](size=shape)
    observation, state, start, _ = step.example(1)
    many = [x.expand(draws, *x.shape[1:]) for x in (observation, state, start)]
    of_step, _ = step(*many, torch.as_tensor(drawn, dtype=torch.float32))
    torch.manual_seed(0)
    of_policy, _ = model.predict(many[0].numpy(), many[1].numpy(), many[2].numpy())
    columns = of_step.numpy().reshape(draws, -1).T, of_policy.reshape(draws, -1).T
    for found, wanted in zip(*columns, strict=True):
        # Of a choice, the share of each value.
        pairs = [(found, wanted)] if actions == "box" else [(found == v, wanted == v) for v in np.unique(wanted)]
        for ours, theirs in pairs:
            # Five standard errors of a difference of means.
            assert abs(ours.mean() - theirs.mean()) <= 5 * theirs.std() * (2 / draws) ** 0.5 + 1e-9
            assert ours.std() == pytest.approx(theirs.std(), rel=0.05, abs=1e-9)


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    model = agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS["discrete"])
    model.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"format is 'tflite', but agents are written as onnx, torchscript, pt2"):
        export_agent(tmp_path / "agent", tmp_path / "agent.tflite", "tflite")
    with pytest.raises(ValueError, match=r"^format is 'onnx', but path is '[^\n]*x\.pt', [^\n]+ torchscript: [^\n]+$"):
        export_agent(tmp_path / "agent", tmp_path / "x.pt", "onnx")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        export_agent(tmp_path / "nothing", tmp_path / "agent.onnx")
    with pytest.raises(TypeError, match="checkpoint is a model, but what is exported is what it wrote: pass the path"):
        export_agent(model, tmp_path / "agent.onnx")  # type: ignore[arg-type]


def test_an_agent_with_a_class_of_ones_own_is_exported_into_a_new_folder(tmp_path: Path) -> None:
    """Fails if the class is not handed on, or the folder not made."""
    options: dict[str, Any] = {"policy_kwargs": {"features_extractor_class": Halved}}
    model = agent(spaces.Box(-1.0, 1.0, (3,)), ACTIONS["discrete"], **options)
    model.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"names the class \S*Halved, .* pass custom_objects="):
        export_agent(tmp_path / "agent", tmp_path / "new" / "agent.pt", "torchscript")
    custom = {"policy_kwargs": model.policy_kwargs}
    export_agent(tmp_path / "agent", tmp_path / "new" / "agent.pt", "torchscript", custom_objects=custom)
    observation = torch.tensor([[0.3, -0.2, 0.9]])
    inputs = (observation, torch.zeros(1, model.policy.state_size), torch.ones(1, dtype=torch.bool), torch.zeros(1, 4))
    action, _ = torch.jit.load(tmp_path / "new" / "agent.pt")(*inputs)
    expected, _ = model.predict(observation.numpy(), deterministic=True)
    assert action.tolist() == expected.tolist()


def test_without_onnxscript_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = agent(spaces.Box(-1.0, 1.0, (2,)), ACTIONS["discrete"])
    model.save(tmp_path / "agent")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 's7rl\[onnx\]', or take [^\n]+ torchscript, pt2 or, "):
        export_agent(tmp_path / "agent", tmp_path / "agent.onnx")
    assert not (tmp_path / "agent.onnx").exists()
