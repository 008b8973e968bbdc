"""Checkpoints: a zip of JSON and safetensors.

    config.json                  format, spaces, constructor arguments, counters, optimiser groups
    policy.safetensors           weights
    optimizer.safetensors        moments of the optimiser
    normalization.safetensors    running statistics, if the environment is a VecNormalize

There is no pickle in it: loading a stranger's agent runs none of their code.  Writing is atomic: a file is complete or
not there, and an older one stays until the new one is complete.

A folder with these files, as :func:`unpack_checkpoint` writes it to be shared, is a checkpoint, too: it has everything
but the moments of the optimiser, which take twice the room of the weights and begin at zero again.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import safetensors.torch
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from stable_baselines3.common.utils import ConstantSchedule, check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor

import s7rl
from s7rl.agents.arguments import PPO_ARGUMENTS, check_given, check_keywords, widths
from s7rl.agents.checkpoint_checks import (
    COUNTERS,
    NORMALIZATION,
    check_optimizer,
    check_space_size,
    check_tensors,
    check_weights,
    parse_json,
    read_members,
)
from s7rl.agents.encoding import decode, decode_space, encode, encode_space, schedule_function
from s7rl.agents.normalization import Tensors, check_alike, set_statistics, statistics_of
from s7rl.agents.policies import RecurrentActorCriticPolicy
from s7rl.agents.vectorization import make_vec
from s7rl.checks import check_arguments, whole_number
from s7rl.files import write_atomically

FORMAT = "s7rl-agent"
FORMAT_VERSION = 2
_TENSORS = ("policy.safetensors", "optimizer.safetensors", "normalization.safetensors")
_OF_THE_PROCESS = ("debug_anomalies", "compile_policy")
_SETTINGS = tuple(name for name in PPO_ARGUMENTS if name not in ("env", "device", *_OF_THE_PROCESS))
_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
_SPACES = ("observation_space", "action_space")
_NO_SETTINGS = ("policy_class", *_SPACES)
_REPLACEABLE = {*_SETTINGS, *_OF_THE_PROCESS, *_NO_SETTINGS}
_OWN_ON_EACH_RANK = ("seed", "verbose", "tensorboard_log", "n_threads")

Self = TypeVar("Self", bound="CheckpointMixin")


class CheckpointMixin(BaseAlgorithm):
    """``load`` of :class:`s7rl.agents.RecurrentPPO`, and what its ``save`` writes, in place of SB3's pickled ones."""

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
        config = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "s7rl": s7rl.__version__,
            "policy_class": encode(self.policy_class),
            "observation_space": encode_space(self.observation_space),
            "action_space": encode_space(self.action_space),
            "n_envs": self.n_envs,
            "settings": {name: encode(_as_written(name, getattr(self, name))) for name in _SETTINGS},
            "counters": {name: encode(getattr(self, name)) for name in COUNTERS},
            "optimizer": optimizer,
            "normalization": normalizer and {name: getattr(normalizer, name) for name in NORMALIZATION},
        }
        for name, function in self.schedule_functions().items():
            warnings.warn(
                f"{name} is a function, which a checkpoint does not hold: the value that it begins with, "
                f"{float(function(1.0)):g}, is saved in its place. Pass {name} to load again, or take SB3's "
                "LinearSchedule.",
                stacklevel=3,
            )
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("config.json", json.dumps(config, indent=2))
            archive.writestr("policy.safetensors", _to_bytes(self.policy.state_dict()))
            archive.writestr("optimizer.safetensors", _to_bytes(moments))
            if normalizer is not None:
                archive.writestr("normalization.safetensors", _to_bytes(statistics))
        return content.getvalue()

    def schedule_functions(self) -> dict[str, Schedule]:
        """The schedules that a checkpoint does not hold, by the names of the settings."""
        functions = {name: schedule_function(getattr(self, name)) for name in _SCHEDULES}
        return {name: function for name, function in functions.items() if function is not None}

    def shared_settings(self) -> dict[str, Any]:
        """What has to be the same on all ranks that learn together, by name, as a checkpoint has it."""
        settings = {name: getattr(self, name) for name in _SETTINGS if name not in _OWN_ON_EACH_RANK}
        policy_kwargs = settings.pop("policy_kwargs") or {}
        settings |= {f"policy_kwargs[{name!r}]": value for name, value in policy_kwargs.items()}
        normalizer = self.get_vec_normalize_env()
        settings["VecNormalize around the environments"] = normalizer is not None
        if normalizer is not None:
            settings |= {f"VecNormalize's {name}": getattr(normalizer, name) for name in NORMALIZATION}
        settings |= {"policy": self.policy_class, "n_envs": self.n_envs}
        return {name: _encode_if_possible(_as_written(name, value)) for name, value in settings.items()}

    @staticmethod
    def write_checkpoint(path: str | Path | io.BufferedIOBase, content: bytes) -> None:
        """Write the bytes of a checkpoint, atomically where ``path`` is one."""
        if isinstance(path, io.IOBase):
            path.write(content)
        else:
            target = with_suffix(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)

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
            path: what :meth:`save` wrote, or a folder of :func:`unpack_checkpoint`; ".zip" is added to a name without
                suffix.
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
        of_the_policy = {name: value for name, value in kwargs.items() if name not in _NO_SETTINGS}
        check_keywords("kwargs", of_the_policy, cls, without=("policy", "env", "device", "_init_setup_model"))
        if print_system_info:
            from stable_baselines3.common.utils import get_system_info

            get_system_info()
        known = {name: value for name, value in (custom_objects or {}).items() if name in _REPLACEABLE}
        replaced = {**known, **kwargs}
        config, tensors = read_checkpoint(path)
        with _naming_the_file(path):
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
        check_given({"env": env}, PPO_ARGUMENTS)
        if isinstance(env, str):
            env = make_vec(env, seed=settings["seed"])
        if env is not None:
            env = cls._wrap_env(env, settings["verbose"])  # type: ignore[arg-type]  # ours takes vector environments
            check_for_correct_spaces(env, observation_space, action_space)
        # What else was replaced is checked by itself, and no reason for a file not to fit.
        with _naming_the_file(path, replaced.keys() & {"policy_class", "policy_kwargs", "use_sde", *_SPACES}):
            model = cls(policy_class, env, device=device, _init_setup_model=False, **settings)  # type: ignore[call-arg]
            model.observation_space, model.action_space = observation_space, action_space
            model.n_envs = config["n_envs"] if env is None else env.num_envs
            if not replaced.keys() & {"policy_class", "policy_kwargs"}:
                model._setup_lr_schedule()
                options = settings["policy_kwargs"] or {}
                layers = widths(options.get("net_arch") or ())
                depths = {"n_blocks": options.get("n_blocks", 0), "net_arch": len(layers)}
                check_weights(model._make_policy, tensors["policy.safetensors"], depths)
            model._setup_model()
            model._load_tensors(config, tensors)
            for name in COUNTERS:
                setattr(model, name, config["counters"][name])
        if env is not None and config["normalization"] is not None:
            with _naming_the_file(path):
                statistics = tensors["normalization.safetensors"]
                check_arguments(config["normalization"], **NORMALIZATION)
            normalizer = model.get_vec_normalize_env()
            if normalizer is not None:
                check_alike(normalizer, config["normalization"], statistics)
                with _naming_the_file(path):
                    set_statistics(normalizer, statistics)
            elif config["normalization"]["norm_obs"]:
                warnings.warn(
                    "the agent's observations were scaled by a VecNormalize, and env has none: pass "
                    "load_normalization(path, env), or env in a new VecNormalize to learn on.",
                    stacklevel=2,
                )
        return model

    def set_parameters(
        self,
        load_path_or_dict: str | dict[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Load weights and optimiser state in place, from a checkpoint or from what ``get_parameters`` returned."""
        if isinstance(load_path_or_dict, dict):
            super().set_parameters(load_path_or_dict, exact_match, device)
            return
        config, tensors = read_checkpoint(load_path_or_dict)
        with _naming_the_file(load_path_or_dict):
            self._load_tensors(config, tensors)

    def _load_tensors(self, config: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        check_tensors(self.policy.state_dict(), tensors["policy.safetensors"])
        state = _join_optimizer(config["optimizer"], tensors["optimizer.safetensors"])
        check_optimizer(self.policy.optimizer, state)
        self.policy.load_state_dict(tensors["policy.safetensors"])
        self.policy.optimizer.load_state_dict(state)

    def _make_policy(self) -> RecurrentActorCriticPolicy:
        """The policy that the settings ask for, new."""
        raise NotImplementedError


def load_normalization(path: str | Path | io.BufferedIOBase, env: VecEnv) -> VecEnv:
    """The environment, normalised as it was when the checkpoint was written.

    Returns:
        ``env`` in a ``VecNormalize`` that no longer learns and leaves rewards alone; ``env`` itself if the agent was
        trained without one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of s7rl, or the agent saw observations of another shape.
    """
    config, tensors = read_checkpoint(path)
    if config["normalization"] is None:
        return env
    with _naming_the_file(path):
        if set(config["normalization"]) != set(NORMALIZATION):
            raise ValueError(f"its normalisation is not that of version {FORMAT_VERSION}.")
        check_arguments(config["normalization"], **NORMALIZATION)
        normalizer = VecNormalize(env, training=False, **config["normalization"])
        statistics = tensors["normalization.safetensors"]
    check_alike(normalizer, config["normalization"], statistics)
    with _naming_the_file(path):
        set_statistics(normalizer, statistics)
    normalizer.norm_reward = False
    return normalizer


def read_checkpoint(path: str | Path | io.BufferedIOBase) -> tuple[dict[str, Any], dict[str, Tensors]]:
    """The config and the tensors of each part of a checkpoint.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of s7rl or is damaged.
    """
    with _naming_the_file(path):
        return _parsed(_members(path))


def unpack_checkpoint(path: str | Path | io.BufferedIOBase, folder: str | Path) -> None:
    """Write a checkpoint as the files of a folder, without the moments of the optimiser; :meth:`load` takes it.

    Args:
        path: what ``save`` wrote.
        folder: to write into; it may be there.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if it is none of s7rl or is damaged.
    """
    with _naming_the_file(path):
        members = _members(path)
        _parsed(members)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in members.items():
        if name != "optimizer.safetensors":
            write_atomically(Path(folder, name), content)


def _members(path: str | Path | io.BufferedIOBase) -> dict[str, bytes]:
    names = ("config.json", *_TENSORS)
    if isinstance(path, io.IOBase):
        return read_members(path.read(), names)
    source = with_suffix(path)
    if source.is_file():
        return read_members(source.read_bytes(), names)
    if Path(path, "config.json").is_file():
        members = {name: Path(path, name).read_bytes() for name in names if Path(path, name).is_file()}
        return {"optimizer.safetensors": safetensors.torch.save({}), **members}
    raise FileNotFoundError(f"there is no checkpoint {source}: pass the path of a file that save() wrote.")


def _parsed(members: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, Tensors]]:
    if "config.json" not in members:
        raise ValueError("it has no config.json: pass the path of a file that save() wrote.")
    config = parse_json(members["config.json"])
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ValueError("its config.json is not that of an s7rl agent. Of the folder of a run pass its latest.zip.")
    if config.get("version") != FORMAT_VERSION:
        raise ValueError(f"its version is {config.get('version')}, this s7rl reads version {FORMAT_VERSION}.")
    return config, {name: safetensors.torch.load(members[name]) for name in members if name != "config.json"}


@contextmanager
def _naming_the_file(path: str | Path | io.BufferedIOBase, replaced: Collection[str] = ()) -> Iterator[None]:
    """Turn whatever a broken file makes libraries raise into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = shorten(str(error), 300, placeholder=" ...")
        if isinstance(error, KeyError):
            reason = f"{reason} is missing."
        where = getattr(path, "name", path) if isinstance(path, io.IOBase) else path
        what = "is not a checkpoint that this s7rl can read"
        if replaced:
            what = f"cannot be loaded with {' and '.join(replaced)} in place of its own"
        raise ValueError(f"{where} {what}: {reason or type(error).__name__}") from error


def with_suffix(path: str | Path) -> Path:
    """The path, with ".zip" where it has no suffix."""
    path = Path(path)
    return path if path.suffix else path.with_suffix(".zip")


def _to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    # Cloned, since SB3 policies hold the features extractor under three names, and safetensors refuses shared memory.
    return safetensors.torch.save(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    )


def _as_written(name: str, value: Any) -> Any:
    """A setting; of a schedule that is a function the constant that it begins with."""
    function = schedule_function(value) if name in _SCHEDULES else None
    return value if function is None else ConstantSchedule(float(function(1.0)))


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
