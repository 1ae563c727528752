"""Sphinx settings; ``nox -s docs`` builds."""

import json
from pathlib import Path

from sphinx.application import Sphinx

from zaqar_conformance.engine import run
from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.pages import report_page
from zaqar_conformance.target import find_target

project = "Zaqar storage SDK"
author = "the Zaqar storage SDK developers"
copyright = "the Zaqar storage SDK developers, Apache-2.0"  # noqa: A001

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_static_path: list[str] = []

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True

# Types of the standard library and type variables are shown, not linked: the build needs no network.
nitpick_ignore_regex = [
    ("py:class", r"(abc|collections|contextlib|dataclasses|enum|pathlib|ssl|types|typing)\..*"),
    ("py:class", "CheckFunction"),
    ("py:(class|obj)", r"(.*\.)?([A-Z]\w*)?T"),
]


def write_examples(app: Sphinx, error: Exception | None) -> None:
    """The pages of short runs, which docs/conformance.md shows: of a right driver, and of one that is wrong."""
    if error is None and app.builder.format == "html":
        only = ["NAM-*", "depth_of_active_messages_costs_little"]
        right = run(find_target("memory"), only=only)
        mutant = find("claims-look-then-act")
        with mutant.applied():
            wrong = run(mutant.target(), only=mutant.checked)
        for name, report in (("example-report", right), ("example-failure", wrong)):
            Path(app.outdir, f"{name}.html").write_text(report_page(json.loads(report.to_json())), "utf-8")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write_examples)
