"""Kernels are compiled anew when their code changes, and where nothing can be written beside them.

Mutations seen to fail: a kernel that calls one of another file; no temporary folder; one that others may write to, or a
link; one that stays, or that numba goes on to use for other functions; a temporary folder where the user's own serves.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import pkgutil
import stat
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest
from numba.core.dispatcher import Dispatcher

from s7rl import kernels
from s7rl.agents import kernels as learning_kernels
from s7rl.kernels import compiling

SOURCE = """
from s7rl.kernels.compiling import kernel

@kernel
def doubled(x):
    return 2 * x
"""


def modules() -> list[ModuleType]:
    return [
        importlib.import_module(f"{package.__name__}.{name}")
        for package in (kernels, learning_kernels)
        for _, name, _ in pkgutil.iter_modules(package.__path__)
        if "triton" not in name
    ]


def test_kernels_call_kernels_of_their_own_file_only() -> None:
    # numba looks at the file of a function only to decide whether what it has compiled is still true.
    found = 0
    for module in modules():
        for name, function in vars(module).items():
            if isinstance(function, Dispatcher) and function.py_func.__module__ == module.__name__:
                code = function.py_func.__code__
                called = [module.__dict__[other] for other in code.co_names if other in vars(module)]
                homes = {other.py_func.__module__ for other in called if isinstance(other, Dispatcher)}
                assert homes <= {module.__name__}, f"{name} of {module.__name__} calls kernels of {homes}"
                found += bool(homes)
    assert found >= 3  # both directions of S7, and the step of its block


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a kernel, where numba can write neither beside it nor into the user's folder."""
    file = tmp_path / "package" / "module.py"
    file.parent.mkdir()
    file.write_text(SOURCE)
    # Files, not folders without permission: those are no obstacle for root.
    (file.parent / "__pycache__").touch()
    (tmp_path / "cache").touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    compiling._temporary_folder.cache_clear()
    return file


@pytest.fixture(autouse=True)
def _no_folder_of_these_tests_is_kept(monkeypatch: pytest.MonkeyPatch) -> Any:
    yield
    compiling._temporary_folder.cache_clear()


def loaded(source: Path) -> Any:
    """The kernel, as a new process would define it."""
    spec = importlib.util.spec_from_file_location("module", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.doubled


def test_a_temporary_folder_serves_where_nothing_else_can_be_written(source: Path) -> None:
    first = loaded(source)
    assert first(3) == 6
    (folder,) = Path(tempfile.gettempdir()).iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.rglob("*.nbi"))
    assert numba.config.CACHE_DIR == ""
    compiling._temporary_folder.cache_clear()
    second = loaded(source)
    assert second(3) == 6
    assert sum(second.stats.cache_hits.values()) == 1


def test_a_folder_of_the_users_own_serves_first(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").unlink()
    assert loaded(source)(3) == 6
    assert list((tmp_path / "cache").rglob("*.nbi"))
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("made_by", ["open", "link", "file"])
def test_no_code_is_loaded_from_a_folder_that_others_could_write_to(
    made_by: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *call, **options: removed.append((call, options)))
    temporary = Path(tempfile.gettempdir())
    shared = temporary / f"s7rl-numba-{os.getuid()}"
    if made_by == "open":
        shared.mkdir()
        shared.chmod(0o777)
    elif made_by == "link":
        (source.parent / "elsewhere").mkdir(mode=0o700)
        shared.symlink_to(source.parent / "elsewhere")
    else:
        shared.touch(mode=0o600)
    assert loaded(source)(3) == 6
    assert not list(source.parent.rglob("*.nbi"))
    (own,) = (folder for folder in temporary.iterdir() if folder != shared)
    assert list(own.rglob("*.nbi"))
    ((remove, *arguments), options), *_ = removed
    remove(*arguments, **options)
    assert not own.exists()
