"""``load`` of an agent, and what ``save`` writes: settings, weights, counters, the normaliser of its environments.

The files are those of :mod:`s7rl.agents.checkpoint_files`, without pickle.
"""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import ConstantSchedule, check_for_correct_spaces

import s7rl
from s7rl.agents.arguments import PPO_ARGUMENTS, check_given, check_keywords, widths
from s7rl.agents.checkpoint_checks import (
    COUNTERS,
    NORMALIZATION,
    check_optimizer,
    check_space_size,
    check_tensors,
    check_weights,
)
from s7rl.agents.checkpoint_files import FORMAT_VERSION, Tensors, naming_the_file, pack_checkpoint, read_checkpoint
from s7rl.agents.encoding import decode, decode_space, encode, encode_space, schedule_function
from s7rl.agents.normalization import read_normalization, restore_statistics, statistics_of
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.vectorization import make_vec
from s7rl.checks import check_arguments, whole_number

_OF_THE_PROCESS = ("debug_anomalies", "compile_policy")
_SETTINGS = tuple(name for name in PPO_ARGUMENTS if name not in ("env", "device", *_OF_THE_PROCESS))
_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
_SPACES = ("observation_space", "action_space")
_NO_SETTINGS = ("policy_class", *_SPACES)
_REPLACEABLE = {*_SETTINGS, *_OF_THE_PROCESS, *_NO_SETTINGS}
_OF_THE_NETWORK = {*_NO_SETTINGS, "policy_kwargs", "use_sde"}
"""What may fit its own range and not the file's weights."""
_OWN_ON_EACH_RANK = ("seed", "verbose", "tensorboard_log", "n_threads")

Self = TypeVar("Self", bound="CheckpointMixin")


class CheckpointMixin(BaseAlgorithm):
    """``load`` of :class:`s7rl.agents.RecurrentPPO`, and what its ``save`` writes, in place of SB3's pickled ones."""

    policy: RecurrentActorCriticPolicy

    def checkpoint_bytes(self) -> bytes:
        """A checkpoint of the model as it is; a schedule that is a function is the constant that it begins with.

        Raises:
            ValueError: if a nan has got into the statistics of a ``VecNormalize``.
        """
        normalizer = self.get_vec_normalize_env()
        statistics = {} if normalizer is None else statistics_of(normalizer)
        for name, tensor in statistics.items():
            if not tensor.isfinite().all():
                raise ValueError(
                    f"{name} of the VecNormalize is not finite, as an observation or a reward was not, and nobody "
                    "could load a checkpoint of it: go on from the one before."
                )
        optimizer, moments = _split_optimizer(self.policy.optimizer.state_dict())
        settings = self._settings()
        config = {
            "s7rl": s7rl.__version__,
            "policy_class": encode(self.policy_class),
            "observation_space": encode_space(self.observation_space),
            "action_space": encode_space(self.action_space),
            "n_envs": self.n_envs,
            "settings": {name: encode(value) for name, value in settings.items()},
            "counters": {name: encode(getattr(self, name)) for name in COUNTERS},
            "optimizer": optimizer,
            "normalization": normalizer and {name: getattr(normalizer, name) for name in NORMALIZATION},
        }
        for name in self.schedule_functions():
            warnings.warn(
                f"{name} is a function, of which load gives back the value that it begins with, "
                f"{settings[name].val:g}: pass {name} to load again, or take SB3's LinearSchedule.",
                stacklevel=3,
            )
        parts = {"policy": self.policy.state_dict(), "optimizer": moments}
        return pack_checkpoint(config, parts if normalizer is None else parts | {"normalization": statistics})

    def schedule_functions(self) -> dict[str, Schedule]:
        """The schedules that a checkpoint does not hold, by the names of the settings."""
        functions = {name: schedule_function(getattr(self, name)) for name in _SCHEDULES}
        return {name: function for name, function in functions.items() if function is not None}

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments, with the value that it begins with for a schedule that is a function."""
        constants = {
            name: ConstantSchedule(float(function(1.0))) for name, function in self.schedule_functions().items()
        }
        return {name: getattr(self, name) for name in _SETTINGS} | constants

    def shared_settings(self) -> dict[str, Any]:
        """What has to be the same on all ranks that learn together, by name, as a checkpoint has it."""
        settings = {name: value for name, value in self._settings().items() if name not in _OWN_ON_EACH_RANK}
        policy_kwargs = settings.pop("policy_kwargs") or {}
        settings |= {f"policy_kwargs[{name!r}]": value for name, value in policy_kwargs.items()}
        normalizer = self.get_vec_normalize_env()
        settings["VecNormalize around the environments"] = None if normalizer is None else type(normalizer).__name__
        if normalizer is not None:
            settings |= {f"VecNormalize's {name}": getattr(normalizer, name) for name in NORMALIZATION}
        settings |= {"policy": self.policy_class, "n_envs": self.n_envs}
        return {name: _encode_if_possible(value) for name, value in settings.items()}

    @classmethod
    def load(
        cls: type[Self],
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | VectorEnv | str | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Make a model from a checkpoint.

        ``compile_policy`` and ``debug_anomalies`` are of the process, not of the agent: pass them again.

        Args:
            path: what ``save`` wrote, or a folder of :func:`s7rl.agents.checkpoint_files.unpack_checkpoint`; ".zip" is
                added to a name without suffix.
            env: environment to act or to go on learning in, or its id, as in the constructor; None is enough for
                ``predict``.  A ``VecNormalize`` gets the statistics of the one that the agent was trained in.
            device: where the model runs.
            custom_objects: settings that replace the saved ones, such as ``policy_kwargs`` with a class of your own,
                ``policy_class``, ``observation_space`` or ``action_space``.  As in SB3 other names have no effect.
            print_system_info: print versions and platform first.
            force_reset: no effect: episodes always start anew.
            kwargs: further settings that replace the saved ones.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a checkpoint of s7rl, is damaged, or does not fit the environment.
            TypeError: if one of ``kwargs`` is no setting.
        """
        if print_system_info:
            from stable_baselines3.common.utils import get_system_info

            get_system_info()
        model, remark = cls._loaded(path, env, device, custom_objects, kwargs)
        if remark is not None:
            warnings.warn(remark, stacklevel=2)
        return model

    @classmethod
    def _loaded(
        cls: type[Self],
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | VectorEnv | str | None,
        device: torch.device | str,
        custom_objects: dict[str, Any] | None,
        kwargs: dict[str, Any],
    ) -> tuple[Self, str | None]:
        """What :meth:`load` makes, and what it has to say of the environment."""
        arguments = {name: value for name, value in kwargs.items() if name not in _NO_SETTINGS}
        check_keywords("kwargs", arguments, cls, without=("policy", "env", "device", "_init_setup_model"))
        known = {name: value for name, value in (custom_objects or {}).items() if name in _REPLACEABLE}
        replaced = {**known, **kwargs}
        config, tensors = read_checkpoint(path)
        with naming_the_file(path):
            policy_class = replaced.get("policy_class") or decode(config["policy_class"])
            if not (isinstance(policy_class, type) and issubclass(policy_class, RecurrentActorCriticPolicy)):
                raise ValueError(f"its policy is {policy_class!r}, which is no recurrent policy.")
            check_space_size([config[name] for name in _SPACES if name not in replaced])
            observation_space, action_space = (
                replaced[name] if name in replaced else decode_space(config[name]) for name in _SPACES
            )
            check_arguments(config, n_envs=whole_number("it is how many environments there were", least=1))
            if set(config["settings"]) != set(_SETTINGS) or set(config["counters"]) != set(COUNTERS):
                raise ValueError(f"its settings or counters are not those of version {FORMAT_VERSION}.")
            check_arguments(config["counters"], **COUNTERS)
            settings = {name: decode(value) for name, value in config["settings"].items() if name not in replaced}
            check_given(settings, PPO_ARGUMENTS)
        settings.update({name: value for name, value in replaced.items() if name not in _NO_SETTINGS})
        check_given(settings | {"env": env}, PPO_ARGUMENTS)
        if isinstance(env, str):
            env = make_vec(env, seed=settings["seed"])
        if env is not None:
            env = cls._wrap_env(env, settings["verbose"])  # type: ignore[arg-type]  # ours takes vector environments
            check_for_correct_spaces(env, observation_space, action_space)
        # The constructor compares these two with each other.
        with naming_the_file(path, replaced.keys() & {*_OF_THE_NETWORK, "n_steps", "burn_in"}):
            model = cls(policy_class, env, device=device, _init_setup_model=False, **settings)  # type: ignore[call-arg]
        with naming_the_file(path, replaced.keys() & _OF_THE_NETWORK):
            model.observation_space, model.action_space = observation_space, action_space
            model.n_envs = config["n_envs"] if env is None else env.num_envs
            if not replaced.keys() & {"policy_class", "policy_kwargs"}:
                model._setup_lr_schedule()
                options = settings["policy_kwargs"] or {}
                layers = widths(options.get("net_arch") or ())
                depths = {"n_blocks": options.get("n_blocks", 0), "net_arch": len(layers)}
                check_weights(model._make_policy, tensors["policy"], depths)
            model._setup_model()
            model._load_tensors(config, tensors)
            for name in COUNTERS:
                setattr(model, name, config["counters"][name])
        options, statistics = read_normalization(path, config, tensors)
        normalizer = model.get_vec_normalize_env()
        if options is not None and normalizer is not None:
            return model, restore_statistics(normalizer, statistics)
        if options is not None and options["norm_obs"] and env is not None:
            return model, (
                "the agent's observations were scaled by a VecNormalize, and env has none: pass "
                "load_normalization(path, env), or env in a new VecNormalize to learn on."
            )
        return model, None

    def set_parameters(
        self,
        load_path_or_dict: str | dict[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Load weights and optimiser state in place, from a checkpoint or from what ``get_parameters`` returned."""
        if isinstance(load_path_or_dict, dict):
            super().set_parameters(load_path_or_dict, exact_match, device)
            self._follow_weights()
            return
        config, tensors = read_checkpoint(load_path_or_dict)
        with naming_the_file(load_path_or_dict):
            self._load_tensors(config, tensors)

    def _load_tensors(self, config: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        check_tensors(self.policy.state_dict(), tensors["policy"])
        state = _join_optimizer(config["optimizer"], tensors["optimizer"])
        check_optimizer(self.policy.optimizer, state)
        self.policy.load_state_dict(tensors["policy"])
        self._follow_weights()
        self.policy.optimizer.load_state_dict(state)

    def _follow_weights(self) -> None:
        """Draw gSDE's noise anew, which follows from the weights, and lies on their device."""
        if self.use_sde:
            self.policy.reset_noise(self.n_envs)

    def _make_policy(self) -> RecurrentActorCriticPolicy:
        """The policy that the settings ask for, new."""
        raise NotImplementedError


def _encode_if_possible(value: Any) -> Any:
    """A setting as a checkpoint has it, or the name of its type: one can train with what cannot be saved."""
    try:
        return encode(value)
    except TypeError:
        return type(value).__name__


def _split_optimizer(state_dict: dict[str, Any]) -> tuple[dict[str, Any], Tensors]:
    """JSON-able part and tensors of an optimiser's state."""
    moments = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state_dict["state"].items()
        for name, value in values.items()
    }
    return {"param_groups": encode(state_dict["param_groups"])}, moments


def _join_optimizer(config: Mapping[str, Any], moments: Tensors) -> dict[str, Any]:
    state: dict[int, Tensors] = {}
    for key, tensor in moments.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": decode(config["param_groups"])}
