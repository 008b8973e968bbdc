"""Checkpoints: what comes back, what is refused, and that nothing of a file is ever run."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from s7rl import core_names
from s7rl.agents import RecurrentPPO, load_normalization

SMALL = {"d_model": 8, "d_state": 6}


class Wave(gym.Env[NDArray[np.float32], Any]):
    """A wave to watch, in episodes of six steps."""

    observation_space = spaces.Box(-2.0, 2.0, (3,))
    action_space: spaces.Space[Any] = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.phase = 0, self.np_random.random()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._observe(), float(np.sin(self.t + np.sum(action))), False, self.t == 6, {}

    def _observe(self) -> NDArray[np.float32]:
        observation: NDArray[np.float32] = 2 * np.sin(self.phase + self.t * np.arange(1, 4), dtype=np.float32)
        return observation


class OtherWave(Wave):
    """With another number of actions."""

    action_space = spaces.Discrete(5)


class Extractor(BaseFeaturesExtractor):
    """A features extractor that has weights, of a class that no file may name."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=4)
        self.linear = nn.Linear(3, 4)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(observations)
        return y


def waves(number: int = 2) -> DummyVecEnv:
    return DummyVecEnv([Wave] * number)


def agent(env: Any = None, **options: Any) -> RecurrentPPO:
    kwargs = {**SMALL, **options.pop("policy_kwargs", {})}
    chosen = {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seed": 0, **options}
    return RecurrentPPO("MlpPolicy", env or waves(), **chosen, policy_kwargs=kwargs)


def actions(model: RecurrentPPO, steps: int = 20) -> NDArray[Any]:
    rng, state, taken = np.random.default_rng(0), None, []
    for obs in rng.normal(size=(steps, 1, 3)).astype(np.float32):
        action, state = model.predict(obs, state, deterministic=True)
        taken.append(action)
    return np.stack(taken)


def assert_same_weights(one: RecurrentPPO, other: RecurrentPPO) -> None:
    theirs = other.policy.state_dict()
    for name, weight in one.policy.state_dict().items():
        assert torch.equal(weight, theirs[name]), name


def assert_same_moments(one: RecurrentPPO, other: RecurrentPPO) -> None:
    mine, theirs = one.policy.optimizer.state_dict(), other.policy.optimizer.state_dict()
    assert mine["param_groups"] == theirs["param_groups"]
    assert mine["state"].keys() == theirs["state"].keys()
    for index, moments in mine["state"].items():
        assert moments.keys() == theirs["state"][index].keys()
        for name, moment in moments.items():
            assert torch.equal(moment, theirs["state"][index][name]), (index, name)


@pytest.fixture(scope="module")
def trained() -> RecurrentPPO:
    return agent(learning_rate=1e-2).learn(64)


@pytest.fixture
def saved(trained: RecurrentPPO, tmp_path: Path) -> Path:
    trained.save(tmp_path / "agent.zip")
    return tmp_path / "agent.zip"


@pytest.mark.parametrize("core", core_names())
def test_what_is_loaded_acts_and_goes_on_learning_as_what_was_saved(core: str, tmp_path: Path) -> None:
    model = agent(policy_kwargs={"core": core, "n_blocks": 2}, learning_rate=1e-2).learn(32)
    model.save(tmp_path / "agent")
    loaded = RecurrentPPO.load(tmp_path / "agent", env=waves())
    np.testing.assert_array_equal(actions(loaded), actions(model))
    assert_same_weights(loaded, model)
    assert_same_moments(loaded, model)
    assert loaded.num_timesteps == 32
    assert loaded._n_updates == model._n_updates == 4
    for either in (model, loaded):
        either.set_env(waves())
        either.set_random_seed(5)
        either.learn(32, reset_num_timesteps=False)
        assert either.num_timesteps == 64
    assert_same_weights(loaded, model)


@pytest.mark.usefixtures("as_users_run_it")
def test_an_agent_whose_steps_were_counted_by_a_float_is_loaded(tmp_path: Path) -> None:
    """Fails if the rule for ``_total_timesteps`` takes whole numbers alone."""
    agent().learn(16.0).save(tmp_path / "agent.zip")  # type: ignore[arg-type]  # as in learn(1e6)
    assert RecurrentPPO.load(tmp_path / "agent.zip", waves()).learn(16, reset_num_timesteps=False).num_timesteps == 32


def test_an_infinite_clipping_of_a_normalised_environment_comes_back(tmp_path: Path) -> None:
    """Fails if the rules for ``clip_obs`` and ``clip_reward`` take finite numbers alone."""
    agent(VecNormalize(waves(), clip_obs=np.inf, clip_reward=np.inf)).save(tmp_path / "agent.zip")
    restored = load_normalization(tmp_path / "agent.zip", waves())
    assert isinstance(restored, VecNormalize)
    assert restored.clip_obs == restored.clip_reward == np.inf


def test_statistics_that_a_nan_got_into_are_not_saved_and_the_file_from_before_stays(tmp_path: Path) -> None:
    """Fails if the statistics are not looked at before they are written: that file could not be loaded."""
    env = VecNormalize(waves())
    model = agent(env).learn(16)
    model.save(tmp_path / "a", resumable=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    statistics: Any = env.obs_rms
    statistics.update(np.full((2, 3), np.nan))
    for resumable in (False, True):
        with pytest.raises(ValueError, match=r"^obs_rms\.mean of the VecNormalize is not finite, [^\n]+$"):
            model.save(tmp_path / "a", resumable=resumable)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_custom_objects_as_scripts_for_sb3_pass_them_are_taken(saved: Path) -> None:
    """Fails if a name that is no setting is refused, or a schedule may not begin at 0."""
    scripts: dict[str, Any] = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
    model = RecurrentPPO.load(saved, waves(), custom_objects=scripts)
    assert (model.lr_schedule(1.0), model.clip_range(1.0)) == (0.0, 0.0)
    with pytest.raises(
        TypeError, match=r"^kwargs holds 'n_step', which RecurrentPPO does not take: did you mean 'n_steps'"
    ):
        RecurrentPPO.load(saved, n_step=1)
    for options in ({"n_steps": -1}, {"custom_objects": {"n_steps": -1}}):  # and not the file is blamed
        with pytest.raises(ValueError, match=r"^n_steps is -1"):
            RecurrentPPO.load(saved, **options)


def test_a_schedule_that_is_0_is_saved_and_loaded(saved: Path, tmp_path: Path) -> None:
    """Fails if it is saved as the number 0, which no clip_range may be."""
    model = RecurrentPPO.load(saved, custom_objects={"clip_range": lambda _: 0.0})
    with pytest.warns(UserWarning, match="clip_range is a function, of which load gives back"):
        model.save(tmp_path / "b")
    assert RecurrentPPO.load(tmp_path / "b").clip_range(0.5) == 0.0


def test_custom_objects_replace_spaces(saved: Path) -> None:
    """Fails if they are refused or have no effect."""
    wide = spaces.Box(-5.0, 5.0, (3,))
    broken = config_with(saved, lambda config: config.update(observation_space="of another library"))
    model = RecurrentPPO.load(broken, custom_objects={"observation_space": wide})
    assert model.observation_space == wide
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        RecurrentPPO.load(saved, waves(), custom_objects={"observation_space": wide})
    with pytest.raises(ValueError, match=r"^[^\n]*action_space in place of its own[^\n]*$"):
        RecurrentPPO.load(saved, custom_objects={"action_space": spaces.Discrete(9)})


@pytest.mark.usefixtures("as_users_run_it")
def test_an_agent_is_loaded_with_the_id_of_an_environment(tmp_path: Path) -> None:
    """Fails if an id is taken for an environment."""
    RecurrentPPO("MlpPolicy", "s7rl/TMazePassive-v0", n_steps=8, policy_kwargs=SMALL).save(tmp_path / "a")
    assert RecurrentPPO.load(tmp_path / "a", "s7rl/TMazePassive-v0").n_envs == 16
    with pytest.raises(TypeError, match=r"^env is 3, but [^\n]+$"):
        RecurrentPPO.load(tmp_path / "a", 3)  # type: ignore[arg-type]


def test_settings_come_back_and_may_be_replaced(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "gamma": 0.9,
        "clip_range": 0.3,
        "clip_range_vf": 0.4,
        "ent_coef": 0.05,
        "target_kl": 0.1,
        "normalize_advantage": False,
        "seed": 3,
    }
    kwargs = {
        "core_kwargs": {"horizon": (3.0, 50.0), "token_shift": None},
        "net_arch": {"pi": [4], "vf": [5, 6]},
        "activation_fn": nn.ReLU,
        "optimizer_class": torch.optim.SGD,
    }
    agent(**options, policy_kwargs=kwargs).save(tmp_path / "agent.zip")
    loaded = RecurrentPPO.load(tmp_path / "agent.zip")
    for name, value in options.items():
        got = getattr(loaded, name)
        assert (got(1.0) if callable(got) else got) == value, name
    assert loaded.policy_kwargs == {**SMALL, **kwargs}
    assert isinstance(loaded.policy.optimizer, torch.optim.SGD)
    assert RecurrentPPO.load(tmp_path / "agent.zip", gamma=0.5).gamma == 0.5
    assert RecurrentPPO.load(tmp_path / "agent.zip", custom_objects={"n_epochs": 7}).n_epochs == 7


def test_a_checkpoint_is_json_and_safetensors_and_no_pickle(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        names = set(archive.namelist())
        assert names == {"config.json", "policy.safetensors", "optimizer.safetensors"}
        assert json.loads(archive.read("config.json"))["format"] == "s7rl-agent"
        for name in names:
            content = archive.read(name)
            assert not content.startswith(b"\x80"), "a pickle"
            assert not zipfile.is_zipfile(io.BytesIO(content)), "torch.save's"


def test_a_binary_file_object_serves_as_well(trained: RecurrentPPO) -> None:
    file = io.BytesIO()
    trained.save(file)
    file.seek(0)
    assert_same_weights(RecurrentPPO.load(file), trained)


def test_an_extractor_with_weights_is_saved_and_loaded_with_its_class_at_hand(tmp_path: Path) -> None:
    kwargs = {**SMALL, "features_extractor_class": Extractor}
    model = agent(policy_kwargs=kwargs)
    model.learn(16)
    model.save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=r"^[^\n]*names the class [^\n]*Extractor[^\n]*custom_objects[^\n]*$"):
        RecurrentPPO.load(tmp_path / "agent.zip")
    loaded = RecurrentPPO.load(tmp_path / "agent.zip", custom_objects={"policy_kwargs": kwargs})
    np.testing.assert_array_equal(actions(loaded), actions(model))


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    saved: Path, trained: RecurrentPPO, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(os, failing, fail)
        with pytest.raises(OSError, match="disk is full"):
            trained.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_checkpoint_is_readable_by_whoever_the_umask_lets(saved: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^there is no checkpoint [^\n]*nothing\.zip: [^\n]+$"):
        RecurrentPPO.load(tmp_path / "nothing")


def test_of_the_folder_of_a_run_it_says_what_to_pass(saved: Path) -> None:
    saved.rename(saved.with_name("latest.zip"))
    saved.with_name("config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"Of the folder of a run pass its latest\.zip\.$"):
        RecurrentPPO.load(saved.parent)


# Seen to fail it: the KeyError that it was before.
def test_a_file_of_another_program_is_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("data", "{}")
    with pytest.raises(ValueError, match=r"it has no config\.json: pass the path of a file that save\(\) wrote\.$"):
        RecurrentPPO.load(tmp_path / "other.zip")


def edited(path: Path, **members: bytes | None) -> Path:
    """The same archive with other members; None leaves one out.  An underscore stands for a dot."""
    target = path.with_name("edited.zip")
    replaced = {name.replace("_", "."): content for name, content in members.items()}
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = replaced.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def config_with(path: Path, change: Callable[[Any], Any]) -> Path:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    changed = change(config)
    return edited(path, config_json=json.dumps(config if changed is None else changed).encode())


BROKEN: dict[str, Callable[[Path], Path]] = {
    "no config": lambda path: edited(path, config_json=None),
    "no weights": lambda path: edited(path, policy_safetensors=None),
    "no moments": lambda path: edited(path, optimizer_safetensors=None),
    "config of no JSON": lambda path: edited(path, config_json=b"\xff{"),
    "weights of no safetensors": lambda path: edited(path, policy_safetensors=b"x" * 100),
    "empty weights": lambda path: edited(path, policy_safetensors=b""),
    "a list": lambda path: config_with(path, lambda config: [config]),
    "another format": lambda path: config_with(path, lambda config: config.update(format="sb3")),
    "a later version": lambda path: config_with(path, lambda config: config.update(version=99)),
    "no spaces": lambda path: config_with(path, lambda config: config.pop("action_space") and None),
    "an odd space": lambda path: config_with(path, lambda config: config.update(action_space={"kind": "Text"})),
    "a space of no size": lambda path: config_with(path, lambda config: config["action_space"].update(n=-1)),
    "no number of environments": lambda path: config_with(path, lambda config: config.pop("n_envs") and None),
    "no settings": lambda path: config_with(path, lambda config: config.pop("settings") and None),
    "a setting too many": lambda path: config_with(path, lambda config: config["settings"].update(speed=1)),
    "a setting too few": lambda path: config_with(path, lambda config: config["settings"].clear()),
    "an odd setting": lambda path: config_with(path, lambda config: config["settings"].update(gamma={"odd": 1})),
    "no counters": lambda path: config_with(path, lambda config: config.pop("counters") and None),
    "another width": lambda path: config_with(
        path, lambda config: config["settings"]["policy_kwargs"]["dict"].update(d_model=9)
    ),
    "no optimiser": lambda path: config_with(path, lambda config: config.pop("optimizer") and None),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_somebody_changed_ends_in_one_line(saved: Path, kind: str) -> None:
    path = BROKEN[kind](saved)
    with pytest.raises(ValueError, match=r"^[^\n]*edited\.zip is not a checkpoint that this s7rl can read: [^\n]+$"):
        RecurrentPPO.load(path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04", b"\x80\x04N."])
def test_a_file_of_another_kind_ends_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.zip"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*other\.zip is not a checkpoint that this s7rl can read: [^\n]+$"):
        RecurrentPPO.load(path)


def test_a_damaged_file_is_called_so_whatever_was_to_be_replaced(trained: RecurrentPPO, tmp_path: Path) -> None:
    # Fails where every replaced setting is taken for the reason.
    trained.save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as whole, zipfile.ZipFile(tmp_path / "broken.zip", "w") as broken:
        for name in whole.namelist():
            if name != "policy.safetensors":
                broken.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match=r"broken\.zip is not a checkpoint that this s7rl can read: [^\n]+$"):
        RecurrentPPO.load(tmp_path / "broken.zip", n_epochs=3)


def test_what_does_not_fit_is_named_be_it_an_argument_or_the_file(saved: Path, tmp_path: Path) -> None:
    """Fails where either is blamed for the other."""
    with pytest.raises(ValueError, match="cannot be loaded with burn_in in place of its own: burn_in is 99, but"):
        RecurrentPPO.load(saved, burn_in=99)
    agent(policy_kwargs={"d_model": 3}).save(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "other.zip") as other:
        weights = other.read("policy.safetensors")
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(tmp_path / "mixed.zip", "w") as mixed:
        for name in whole.namelist():
            mixed.writestr(name, weights if name == "policy.safetensors" else whole.read(name))
    with pytest.raises(ValueError, match=r"mixed\.zip is not a checkpoint that this s7rl can read: [^\n]+$"):
        RecurrentPPO.load(tmp_path / "mixed.zip", burn_in=4)


@settings(max_examples=40)
@given(data=st.data())
def test_a_damaged_file_loads_or_ends_in_one_line(trained: RecurrentPPO, data: st.DataObject) -> None:
    file = io.BytesIO()
    trained.save(file)
    content = bytearray(file.getvalue())
    if data.draw(st.booleans(), label="truncated"):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        RecurrentPPO.load(io.BytesIO(bytes(content)))
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the file may also load
        assert "is not a checkpoint" in str(error)  # noqa: PT017


def test_an_environment_of_other_spaces_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match="Action spaces do not match"):
        RecurrentPPO.load(saved, env=DummyVecEnv([OtherWave]))


def test_an_environment_of_another_number_of_rows_is_fine(saved: Path) -> None:
    assert RecurrentPPO.load(saved, env=waves(4)).learn(32).n_envs == 4


def test_a_class_from_elsewhere_is_refused_and_never_imported(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger_of_s7rl.py").write_text("class Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for path in ("stranger_of_s7rl.Evil", "os.system", "subprocess.Popen", "torchx.nn.Evil", "s7rlx.Evil"):
        named = {"class": path}
        broken = config_with(saved, lambda config, named=named: config.update(policy_class=named))  # type: ignore[misc]
        with pytest.raises(ValueError, match=rf"^[^\n]*names the class {path}, which is not looked up[^\n]*$"):
            RecurrentPPO.load(broken)
    assert "stranger_of_s7rl" not in sys.modules


def test_a_linear_schedule_comes_back_and_a_function_is_saved_as_its_first_value(tmp_path: Path) -> None:
    model = agent(learning_rate=LinearSchedule(1e-3, 1e-4, 0.5), clip_range=LinearSchedule(0.3, 0.1, 1.0))
    model.save(tmp_path / "agent.zip")
    loaded = RecurrentPPO.load(tmp_path / "agent.zip")
    for progress in (1.0, 0.8, 0.3):
        assert loaded.lr_schedule(progress) == model.lr_schedule(progress)
        assert loaded.clip_range(progress) == model.clip_range(progress)
    model = agent(learning_rate=lambda progress: 3e-4 * progress)
    with pytest.warns(UserWarning, match=r"learning_rate is a function.* begins with, 0\.0003: pass"):
        model.save(tmp_path / "agent.zip")
    assert RecurrentPPO.load(tmp_path / "agent.zip").lr_schedule(0.5) == 3e-4


def test_weights_and_moments_are_set_in_place_from_a_file_or_from_a_dictionary(
    saved: Path, trained: RecurrentPPO
) -> None:
    from_file, from_dict = agent(seed=1), agent(seed=2)
    from_file.set_parameters(str(saved))
    from_dict.set_parameters(trained.get_parameters())
    for model in (from_file, from_dict):
        assert_same_weights(model, trained)
        assert_same_moments(model, trained)


def test_weights_of_another_architecture_are_refused_in_one_line(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*agent\.zip is not a checkpoint that this s7rl can read: [^\n]+$"):
        agent(policy_kwargs={"d_model": 16}).set_parameters(str(saved))
