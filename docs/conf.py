"""Sphinx settings; ``nox -s docs`` builds."""

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
