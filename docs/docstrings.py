r"""Docstrings as the site needs them: roles become links, formulas MathML, and simple tables those of Markdown.

Docstrings are written for whoever reads the source, with the few words of reStructuredText that editors know:
``:class:`S7``` and its like, ``.. math::``, ``:math:`x_t``` and tables ruled by equals signs.  MathML is shown by
browsers themselves, so that no script has to be fetched.
"""

import re
from collections.abc import Callable
from html import escape
from textwrap import dedent
from typing import Any

import griffe
from latex2mathml.converter import convert

ROLE = re.compile(r":(?:class|func|meth|mod|attr):`(~?)([\w.]+)`")
INLINE_MATH = re.compile(r":math:`([^`]+)`")
BLOCK_MATH = re.compile(r"^( *)\.\. math::(.*\n(?:(?:\1 +.*)?\n)*)", re.MULTILINE)
TABLE = re.compile(r"^( *)(=+(?: +=+)+)\n\1(.*)\n\1\2\n((?:\1.*\n)+?)\1\2$", re.MULTILINE)


class Docstrings(griffe.Extension):  # type: ignore[misc]  # the type checker runs without griffe
    """Converts every docstring of a package once all of it is loaded, since names are looked up."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Goes through the package."""
        convert_members(pkg)


def convert_members(scope: Any) -> None:
    """Converts the docstring of a module, class or function, and of what it holds."""
    if scope.docstring is not None:
        scope.docstring.value = converted(scope.docstring.value, lambda name: full_name(scope, name))
    for member in scope.members.values():
        if not member.is_alias:
            convert_members(member)


def full_name(scope: Any, name: str) -> str:
    """The path of what is called that within a scope; the name itself where nothing there is."""
    first, dot, rest = name.partition(".")
    try:
        return f"{scope.resolve(first)}{dot}{rest}"
    except griffe.NameResolutionError:
        return name


def converted(text: str, full: Callable[[str], str]) -> str:
    """A docstring in Markdown; ``full`` finds the path of a name."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)  # the name under which they are code
    text = TABLE.sub(_table, text + "\n")
    text = BLOCK_MATH.sub(_block, text)
    text = INLINE_MATH.sub(lambda match: mathml(match[1], display="inline"), text)
    return ROLE.sub(lambda match: _link(match[2], full(match[2]), short=bool(match[1])), text).rstrip()


def _link(name: str, path: str, *, short: bool) -> str:
    # Optional: what the site does not show is named, not linked.
    shown = escape(name.rpartition(".")[2] if short else name)
    return f'<autoref identifier="{path}" optional><code>{shown}</code></autoref>'


def _block(match: re.Match[str]) -> str:
    return f"{match[1]}{mathml(dedent(match[2]).strip(), display='block')}\n\n"


def mathml(latex: str, *, display: str) -> str:
    """A formula; one with columns, as ``x &= y``, is aligned by them."""
    latex = " ".join(latex.split())
    if "&" in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    return str(convert(latex, display=display))


def _table(match: re.Match[str]) -> str:
    indent, rule, head, body = match.groups()
    columns = [slice(*found.span()) for found in re.finditer("=+", rule)]
    columns[-1] = slice(columns[-1].start, None)  # it may be wider than its rule
    rows = [
        [line.removeprefix(indent)[column].strip().replace("|", r"\|") for column in columns]
        for line in body.splitlines()
    ]
    cells = [[f"`{cell}`" if cell and "`" not in cell else cell for cell in row] for row in rows]
    lines = [[head[column].strip() for column in columns], ["---"] * len(columns), *cells]
    return "\n".join(f"{indent}| {' | '.join(line)} |" for line in lines)
