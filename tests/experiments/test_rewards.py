"""Functions of the user's are found by their names, and a name that leads nowhere is one line.

Mutation seen to fail: a module that exits let through.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s7rl.experiments.rewards import import_function


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Python finds modules; those that a test imports from there are forgotten again."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("made_up"):
            del sys.modules[name]


def test_a_function_is_imported_by_its_name(folder: Path) -> None:
    (folder / "made_up").mkdir()
    (folder / "made_up" / "deeper.py").write_text(
        "class Table:\n    @staticmethod\n    def look(obs):\n        return 7\n"
    )
    assert import_function("made_up.deeper:Table.look")(None) == 7
    assert import_function("math:sqrt")(4.0) == 2.0


MISTAKES = [
    ("phi", ValueError, "phi is not module:function, as in my_rewards:progress."),
    ("made_up:", ValueError, "made_up: is not module:function"),
    (":phi", ValueError, ":phi is not module:function"),
    ("made_up.py:phi", ValueError, "made_up.py:phi names a file, not a module; write made_up:phi"),
    ("made_op:phi", ImportError, "made_op:phi cannot be imported: there is no module 'made_op' in "),
    ("made_up.deeper:phi", ImportError, "made_up.deeper:phi cannot be imported: there is no module 'made_up.deeper'"),
    ("made_up:phy", ValueError, "made_up:phy cannot be imported: made_up has no 'phy': did you mean 'phi'?"),
    ("made_up:other", ValueError, "made_up:other cannot be imported: made_up has no 'other': it has phi."),
    ("made_up:x", TypeError, "made_up:x is 3, which cannot be called; name a function."),
    (
        "made_up_lost:f",
        ImportError,
        "made_up_lost:f cannot be imported: importing made_up_lost failed: ModuleNotFoundE",
    ),
    ("made_up_wrong:f", ImportError, "made_up_wrong:f cannot be imported: importing made_up_wrong failed: SyntaxError"),
    ("made_up_sad:f", ImportError, "made_up_sad:f cannot be imported: importing made_up_sad failed: ZeroDivisionError"),
    ("made_up_gone:f", ImportError, "made_up_gone:f cannot be imported: importing made_up_gone failed: SystemExit: 3"),
]


@pytest.mark.parametrize(("name", "kind", "start"), MISTAKES, ids=[name for name, *_ in MISTAKES])
def test_a_name_that_leads_nowhere_is_one_line(name: str, kind: type[Exception], start: str, folder: Path) -> None:
    (folder / "made_up.py").write_text("from math import sqrt\nx = 3\ndef phi(obs):\n    return 0\n")
    (folder / "made_up_lost.py").write_text("import no_such_package\n")
    (folder / "made_up_wrong.py").write_text("def f(:\n")
    (folder / "made_up_sad.py").write_text("\n1 / 0\n")
    (folder / "made_up_gone.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(kind, match=r"^[^\n]+\.?$") as caught:
        import_function(name)
    assert str(caught.value).startswith(start)
    if "sad" in name:
        assert "(made_up_sad.py, line 2)" in str(caught.value)
