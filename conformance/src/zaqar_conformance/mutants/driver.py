"""The driver behind the scheme ``mutant``: the one that the option ``mutant`` names."""

from __future__ import annotations

from dataclasses import replace
from typing import Self, cast

from zaqar_conformance.mutants.zoo import find
from zaqar_conformance.reference.driver import ReferenceDriver
from zaqar_core.errors import InvalidUri
from zaqar_core.uri import Uri


class MutantDriver(ReferenceDriver):
    """``mutant://store?mutant=NAME`` opens that mutant; whatever else is in the URI is for it."""

    @classmethod
    def open(cls, uri: Uri, *, connect_timeout: float, timeout: float) -> Self:
        options = dict(uri.options)
        name = options.pop("mutant", "")
        try:
            driver = find(name).driver
        except KeyError:
            raise InvalidUri(f"{name!r} is no mutant; zaqar-conformance mutants --list names them") from None
        opened = driver.open(replace(uri, options=options), connect_timeout=connect_timeout, timeout=timeout)
        return cast(Self, opened)
