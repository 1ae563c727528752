"""The numbered requirements of the contract, read from ``contract/v1.toml``, and the page made from them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from zaqar_core.capabilities import FEATURES, Capability

Level = Literal["MUST", "SHOULD"]
Layer = Literal["driver", "core"]
Profile = Literal["data", "control", "full"]

_ID = re.compile(r"(?P<prefix>[A-Z]{3})-(?P<number>\d{3})\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence of the contract.

    ``layer``: "driver": proven on every backend; "core": once, on the reference driver. ``capability``: it binds a
    driver only if the driver declares it. ``needs``: the features without which it cannot be checked.
    """

    id: str
    level: Level
    layer: Layer
    text: str
    capability: Capability | None
    needs: tuple[Capability, ...]
    profile: Profile

    @property
    def features(self) -> frozenset[Capability]:
        """The features that a driver must declare for this to be checked at all."""
        return (frozenset(self.needs) | ({self.capability} if self.capability else set())) & FEATURES

    @property
    def guarantee(self) -> Capability | None:
        """The guarantee that this belongs to, if it belongs to one."""
        return None if self.capability is None or self.capability.is_feature else self.capability


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the contract; ``prefix`` begins the numbers of its requirements."""

    prefix: str
    title: str
    profile: Profile
    intro: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of the contract; its requirements are frozen."""

    version: int
    sections: tuple[Section, ...]

    @property
    def requirements(self) -> dict[str, Requirement]:
        """All requirements by number, in the order of the page."""
        return {requirement.id: requirement for section in self.sections for requirement in section.requirements}


class ContractError(ValueError):
    """The file of requirements breaks a rule; says where."""


@cache
def load(version: int = 1) -> Contract:
    """The contract of that version. Raises ``ContractError``, and ``FileNotFoundError`` for an unknown version."""
    return parse(files("zaqar_conformance").joinpath(f"contract/v{version}.toml").read_text("utf-8"))


def parse(text: str) -> Contract:
    """Read and validate a file of requirements. Raises ``ContractError``."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(str(error)) from error
    sections: dict[str, dict[str, Any]] = {}
    members: dict[str, list[Requirement]] = {}
    _keys("the contract", data, {"version", "section", "requirement"})
    for entry in data["section"]:
        _keys(f"section {entry.get('prefix')}", entry, {"prefix", "title", "profile", "intro"})
        prefix = entry["prefix"]
        _require(prefix not in sections, prefix, "the section is there twice")
        _require(entry["profile"] in ("data", "control", "full"), prefix, f"{entry['profile']!r} is no profile")
        sections[prefix] = entry
        members[prefix] = []
    for entry in data["requirement"]:
        number = str(entry.get("id"))
        _keys(number, entry, {"id", "level", "layer", "text"}, {"capability", "needs"})
        match = _ID.match(number)
        _require(match and match["prefix"] in sections, number, "not the prefix of a section, '-' and three digits")
        siblings = members[number[:3]]
        _require(not siblings or siblings[-1].id < number, number, "out of order, or there twice")
        siblings.append(_requirement(number, entry, sections[number[:3]]["profile"]))
    return Contract(
        data["version"],
        tuple(
            Section(prefix, entry["title"], entry["profile"], entry["intro"].strip(), tuple(members[prefix]))
            for prefix, entry in sections.items()
        ),
    )


def markdown(contract: Contract) -> str:
    """The page ``docs/contract.md``: how to read it, then every requirement with an anchor of its own."""
    intro = files("zaqar_conformance").joinpath(f"contract/v{contract.version}-intro.md").read_text("utf-8")
    lines = [
        "<!-- Made by `zaqar-conformance list --markdown` from the requirements; change those, not this page. -->",
        "",
        intro.strip(),
        "",
    ]
    for section in contract.sections:
        lines += [f"## {section.title}", "", section.intro, ""]
        for requirement in section.requirements:
            lines += [f'<a id="{requirement.id.lower()}"></a>', "", _paragraph(requirement), ""]
    return "\n".join(lines)


def _paragraph(requirement: Requirement) -> str:
    facts: list[str] = [requirement.level, requirement.layer]
    if requirement.capability:
        facts.append(f"`{requirement.capability}`")
    if requirement.needs:
        facts.append(f"needs {', '.join(f'`{feature}`' for feature in requirement.needs)}")
    return f"**{requirement.id}** ({', '.join(facts)}) {requirement.text}"


def _requirement(number: str, entry: Mapping[str, Any], profile: Profile) -> Requirement:
    _require(entry["level"] in ("MUST", "SHOULD"), number, f"{entry['level']!r} is no level")
    _require(entry["layer"] in ("driver", "core"), number, f"{entry['layer']!r} is no layer")
    _require(entry["text"].strip(), number, "has no text")
    capability = _capability(number, entry["capability"]) if "capability" in entry else None
    needs = tuple(_capability(number, name) for name in entry.get("needs", ()))
    _require(FEATURES.issuperset(needs), number, "needs what is no feature; only features can be prerequisites")
    level, layer = cast(Level, entry["level"]), cast(Layer, entry["layer"])
    return Requirement(number, level, layer, entry["text"].strip(), capability, needs, profile)


def _capability(number: str, name: str) -> Capability:
    _require(name in Capability.__members__, number, f"{name!r} is no capability")
    return Capability[name]


def _keys(where: str, entry: Mapping[str, Any], needed: set[str], possible: set[str] | None = None) -> None:
    missing, unknown = needed - entry.keys(), entry.keys() - needed - (possible or set())
    _require(not missing, where, f"lacks {', '.join(sorted(missing))}")
    _require(not unknown, where, f"has unknown keys: {', '.join(sorted(unknown))}")


def _require(condition: object, where: str, message: str) -> None:
    if not condition:
        raise ContractError(f"{where}: {message}")
