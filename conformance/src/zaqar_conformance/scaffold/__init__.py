"""``zaqar-conformance init``: writes the distribution that a driver's author starts from.

Its files are in ``templates/``: ``dot-`` in a path stands for ".", ``package`` for the package; ``.tmpl`` is left out.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from zaqar_core.contract import CONTRACT
from zaqar_core.errors import InvalidUri
from zaqar_core.registry import DISTRIBUTIONS, installed
from zaqar_core.uri import Uri

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_LONGEST_NAME = 30


class ScaffoldError(Exception):
    """The distribution cannot be made, and nothing of it is there."""


def create(name: str, *, scheme: str | None = None, directory: Path | None = None) -> Path:
    """Write the folder ``zaqar-NAME`` in ``directory`` (the working directory if None), and return it.

    ``scheme``: of the driver's URIs; ``name`` if None. All of it is there afterwards, or nothing.
    Raises ``ScaffoldError``.
    """
    scheme = name if scheme is None else scheme
    _check(name, scheme)
    directory = Path() if directory is None else directory
    folder = directory / f"zaqar-{name}"
    if folder.exists() or folder.is_symlink():
        raise ScaffoldError(f"{folder} is there already; choose another name or --directory, or move it away")
    words = {
        "name": name,
        "Name": "".join(part.capitalize() for part in name.split("-")),
        "package": _package(name),
        "scheme": scheme,
        "contract": str(CONTRACT),
        "core": _range("zaqar-core"),
        "conformance": _range("zaqar-conformance"),
    }
    try:
        with TemporaryDirectory(prefix=f".zaqar-{name}-", dir=directory) as draft:
            made = Path(draft, folder.name)
            _write(made, words)
            made.rename(folder)
    except OSError as error:
        raise ScaffoldError(
            f"{folder} cannot be made ({error.strerror}); give a --directory that exists and can be written"
        ) from error
    return folder


def _check(name: str, scheme: str) -> None:
    if not _NAME.match(name) or name.startswith("zaqar-") or len(name) > _LONGEST_NAME:
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("zaqar-")
        hint = repr(plain) if _NAME.match(plain) and len(plain) <= _LONGEST_NAME else "'postgres', for example"
        raise ScaffoldError(
            f"{name!r} is no name for a driver: lower-case letters, digits and single hyphens, a letter first, "
            f"at most {_LONGEST_NAME}, without 'zaqar-'; write {hint}"
        )
    if find_spec(_package(name)) is not None:
        raise ScaffoldError(f"a package {_package(name)} is installed here already; choose another name than {name!r}")
    try:
        Uri.parse(f"{scheme}://")
    except InvalidUri:
        raise ScaffoldError(
            f"{scheme!r} is no scheme of a URI: lower-case letters, digits, '+', '-' and '.', a letter first; "
            f"write --scheme {name}"
        ) from None
    owner = DISTRIBUTIONS.get(scheme)
    if scheme in installed() or owner not in (None, f"zaqar-{name}"):
        raise ScaffoldError(f"the scheme {scheme!r} is another driver's ({owner or 'installed here'}); give a --scheme")


def _package(name: str) -> str:
    return f"zaqar_{name.replace('-', '_')}"


def _range(distribution: str) -> str:
    """The versions that work together with what is written: those with the same first two numbers as this one."""
    major, minor = version(distribution).split(".")[:2]
    return f">={major}.{minor},<{major}.{int(minor) + 1}"


def _write(folder: Path, words: dict[str, str]) -> None:
    with as_file(files(__package__) / "templates") as templates:
        for template in sorted(templates.rglob("*.tmpl")):
            relative = template.relative_to(templates).with_suffix("")
            parts = [part.replace("dot-", ".").replace("package", words["package"]) for part in relative.parts]
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(template.read_text("utf-8")).substitute(words), encoding="utf-8")
