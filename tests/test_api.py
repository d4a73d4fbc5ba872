"""The public API: every public name with its signature, as `tests/samples/api.txt` has it.

    python -m tests.test_api >tests/samples/api.txt

writes that file anew. Annotations are shown as the source spells them, so that it is the same on every Python, and
where a class is defined does not show.
"""

from __future__ import annotations

import ast
import difflib
import enum
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import omgmj
import omgmj.backoff
import omgmj.testing
import omgmj.webhook
import omgmj.worker

MODULES = (omgmj, omgmj.backoff, omgmj.testing, omgmj.webhook, omgmj.worker)
FILE = Path(__file__).parent / "samples" / "api.txt"
OPERATORS = {
    *("__aenter__", "__aexit__", "__aiter__", "__anext__", "__call__"),
    *("__contains__", "__getitem__", "__iter__", "__len__"),
}
"""The methods with such names that users rely on."""
HANDED_OUT = {"Batch", "Follow", "InMemoryTransport", "Tasks", "Watch"}
"""The classes whose objects come from methods: how they are made is nobody's affair."""


class Source:
    """A text that stands as it is: an annotation, or a default."""

    def __init__(self, text: object) -> None:
        self.text = getattr(text, "__forward_arg__", text)

    def __repr__(self) -> str:
        return str(self.text)


def default_of(value: object) -> object:
    """Return a default as it is shown; what has no text of its own is only said to be there."""
    if value is inspect.Parameter.empty:
        return value
    return Source("...") if value is attrs.NOTHING or " at 0x" in repr(value) else value


def signature(function: Any, *, bound: bool = False) -> str:
    """Return parameters and result of a function; `bound` leaves out the first."""
    found = inspect.signature(function)
    parameters = [
        one.replace(
            annotation=one.annotation if one.annotation is one.empty else Source(one.annotation),
            default=default_of(one.default),
        )
        for one in list(found.parameters.values())[bound:]
    ]
    result = found.return_annotation
    return str(
        found.replace(parameters=parameters, return_annotation=result if result is found.empty else Source(result))
    )


def is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "omgmj"


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in OPERATORS


def constructor(cls: type) -> str:
    """Return how a class is called; nothing where that is not its own affair."""
    if cls.__name__ in HANDED_OUT or issubclass(cls, enum.Enum) or getattr(cls, "_is_protocol", False):
        return ""
    if issubclass(cls, tuple):
        return signature(cls.__new__, bound=True).partition(" -> ")[0]
    made = next(base for base in cls.__mro__ if "__init__" in vars(base))
    return signature(vars(made)["__init__"], bound=True).partition(" -> ")[0] if is_ours(made) else "(*args)"


def set_by_constructor(cls: type) -> dict[str, str]:
    """Return the attributes that a constructor written by hand sets, with their types where it tells them."""
    found: dict[str, str] = {}
    if "__init__" in vars(cls) and not attrs.has(cls):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__init__"])))):
            match node:
                case ast.Assign(targets=[ast.Attribute(attr=name)]):
                    found.setdefault(name, ": set by the constructor")
                case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation):
                    found[name] = f": {ast.unparse(annotation)}"
    return found


def described(value: object) -> str | None:
    """Return what stands behind the name of a function, property or plain value; None for what has an annotation."""
    if isinstance(value, property):
        assert value.fget is not None
        return f": property{', can be set' if value.fset else ''}{signature(value.fget, bound=True).removeprefix('()')}"
    if isinstance(value, classmethod | staticmethod):
        return f": {type(value).__name__} {signature(value.__func__, bound=isinstance(value, classmethod))}"
    if inspect.isfunction(value):
        return f"{': async ' if inspect.iscoroutinefunction(value) else ''}{signature(value, bound=True)}"
    if isinstance(value, enum.Enum):
        return f" = {value.value!r}"
    return None if inspect.isdatadescriptor(value) else f": {type(value).__name__}"


def members(cls: type) -> dict[str, str]:
    """Return what stands behind the name of each public member, inherited ones of this package included."""
    found: dict[str, str] = {}
    for base in filter(is_ours, reversed(cls.__mro__)):
        found = set_by_constructor(base) | found
        found |= {name: text for name, value in vars(base).items() if (text := described(value))}
        found |= {name: f": {Source(annotation)}" for name, annotation in inspect.get_annotations(base).items()}
    return {name: text for name, text in found.items() if is_public(name)}


def lines_of(module: ModuleType, name: str) -> Iterator[str]:
    """Yield the lines of one name of a module."""
    full, value = f"{module.__name__}.{name}", getattr(module, name)
    if module is not omgmj and value is getattr(omgmj, name, None):
        yield f"{full} is omgmj.{name}"
    elif isinstance(value, type):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        yield f"class {full}({bases})" if bases else f"class {full}"
        if call := constructor(value):
            yield f"{full}{call}"
        yield from (f"{full}.{member}{text}" for member, text in members(value).items())
    else:
        yield f"{full}{signature(value) if inspect.isfunction(value) else f': {type(value).__name__}'}"


def api() -> list[str]:
    """Return the whole API, sorted, a line each."""
    return sorted(line for module in MODULES for name in module.__all__ for line in lines_of(module, name))


def test_the_public_api_is_the_one_on_file() -> None:
    """No public name, parameter, default, annotation, field or base class is gone, differs or is added unnoticed."""
    before, now = FILE.read_text(encoding="utf-8").splitlines(), api()
    difference = "\n".join(difflib.unified_diff(before, now, "on file", "as it is", lineterm="", n=0))
    if difference:
        pytest.fail(f"{difference}\n\nIf this is meant: python -m tests.test_api >tests/samples/api.txt", pytrace=False)


if __name__ == "__main__":
    print(*api(), sep="\n")
