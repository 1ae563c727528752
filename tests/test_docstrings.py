"""What applications import says what it is: the reference is made of nothing else."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from enum import EnumMeta
from typing import Any

import pytest

import zaqar_core
from zaqar_core import Storage, errors

CONTROLLERS = inspect.get_annotations(Storage, eval_str=True)
PUBLIC: dict[str, Any] = {
    **{name: getattr(zaqar_core, name) for name in zaqar_core.__all__},
    **{kind.__name__: kind for kind in CONTROLLERS.values() if inspect.isclass(kind)},
    **dict(inspect.getmembers(errors, inspect.isclass)),
}
CLASSES = [pytest.param(found, id=name) for name, found in PUBLIC.items() if inspect.isclass(found)]


def described_attributes(kind: type) -> set[str]:
    """The attributes below which the source has a string."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found = set()
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found.add(statement.target.id)
            elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                found.add(statement.targets[0].id)
    return found


def test_the_controllers_of_a_storage_are_public() -> None:
    assert {"Queues", "Messages", "Claims", "Subscriptions", "Pools", "Flavors", "Catalogue"} <= set(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_has_a_docstring_of_its_own(name: str) -> None:
    doc = vars(PUBLIC[name]).get("__doc__") if inspect.isclass(PUBLIC[name]) else PUBLIC[name].__doc__
    assert doc, name
    assert not doc.startswith(f"{name}("), "made by dataclasses"


@pytest.mark.parametrize("kind", CLASSES)
def test_its_methods_and_properties_have_docstrings(kind: type) -> None:
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    called = {name: member for name, member in members.items() if callable(member) or isinstance(member, property)}
    called |= {name: member for name, member in members.items() if isinstance(member, classmethod | staticmethod)}
    assert [name for name, member in called.items() if not member.__doc__] == []


@pytest.mark.parametrize("kind", CLASSES)
def test_its_attributes_are_described(kind: type) -> None:
    if is_dataclass(kind):
        names = [field.name for field in fields(kind) if field.name in kind.__annotations__]
    elif isinstance(kind, EnumMeta):
        names = list(kind.__members__)
    else:
        names = [name for name in inspect.get_annotations(kind) if not name.startswith("_")]
    described = described_attributes(kind)
    text = kind.__doc__ or ""
    assert [name for name in names if name not in described and f"``{name}``" not in text] == []
