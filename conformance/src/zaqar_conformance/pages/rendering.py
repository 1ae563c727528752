"""Templates filled in: everything that is put into one is escaped, and what a page runs or styles is named by its hash.

A report holds what drivers and datastores say of themselves. None of it is trusted: autoescaping keeps it text, control
characters are written as JSON does, and the page's Content-Security-Policy allows its own style and script only, and no
request at all.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from zaqar_conformance.outcomes import Outcome
from zaqar_core.terminal import printable_lines

SIGNS = {
    Outcome.ERROR: "!",
    Outcome.FAILED: "✗",
    Outcome.NOT_IMPLEMENTED: "…",
    Outcome.KNOWN_FAILURE: "≈",
    Outcome.UNDECIDED: "?",
    Outcome.NOT_RUN: "\u2013",
    Outcome.UNSUPPORTED: "○",
    Outcome.OBSERVED: "◉",
    Outcome.PASSED: "✓",
}
"""What stands beside the word, so that colour says nothing alone."""


def page(template: str, **values: Any) -> str:
    """A whole HTML page, its style and script inside."""
    style, script = _asset("page.css"), _asset("page.js")
    return render(template, style=Markup(style), script=Markup(script), policy=_policy(style, script), **values)  # noqa: S704


def render(template: str, **values: Any) -> str:
    """The template with these values, all of them escaped."""
    return _environment().get_template(template).render(**values)


def slug(text: str) -> str:
    """An outcome or verdict as a part of a class name."""
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def codes(text: str) -> Markup:
    """The text, escaped, with what stands between backticks as code."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", text)
    plain, code = map(escape, parts[::2]), (Markup("<code>{}</code>").format(part.strip("`")) for part in parts[1::2])
    return Markup("").join(each for pair in zip_longest(plain, code, fillvalue="") for each in pair)


def breakable(name: str) -> Markup:
    """A capability's name, escaped: after each underscore it may go on in another line."""
    return Markup("_<wbr>").join(map(escape, name.split("_")))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("zaqar_conformance.pages"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["slug"] = slug
    environment.filters["sign"] = lambda outcome: SIGNS[Outcome(outcome)]
    environment.filters["codes"] = codes
    environment.filters["breakable"] = breakable
    environment.filters["number"] = lambda number: f"{number:,}".replace(",", "\u202f")
    return environment


def _shown(value: Any) -> Any:
    """What a template puts in, without characters that steer a terminal or reorder text; markup stays markup."""
    return type(value)(printable_lines(value)) if isinstance(value, str) else value


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _asset(name: str) -> str:
    return files("zaqar_conformance.pages").joinpath("templates", name).read_text("utf-8")
