"""What a report and the terminal must not show: the passwords and secret options of URIs, however they are written."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus, urlsplit

from zaqar_conformance.history import Operation
from zaqar_core.uri import Uri


class Secrets:
    """The secrets of these URIs. Raises ``InvalidUri``, ``InvalidOption``."""

    def __init__(self, *uris: str) -> None:
        forms = {form for uri in uris for secret in secrets_of(uri) for form in _forms(secret)}
        # The longest first: one may be a part of another.
        self._forms = sorted(filter(None, forms), key=len, reverse=True)

    def take_in(self, other: Secrets) -> None:
        """Hide those too."""
        self._forms = sorted({*self._forms, *other._forms}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text without them."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def hide_within(self, value: Any) -> Any:
        """The JSON value without them, in keys too; what JSON does not know becomes text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.hide_within(key): self.hide_within(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_within(each) for each in value]
        return self.hide(str(value))

    def hide_in_operation(self, operation: Operation) -> Operation:
        """The operation without them. The names of its arguments are the suite's."""
        arguments = {name: self.hide_within(value) for name, value in operation.arguments.items()}
        return replace(operation, arguments=arguments, result=self.hide_within(operation.result))

    def hide_in_traceback(self, error: BaseException) -> str:
        """The error's traceback, as Python prints it, without them."""
        return self.hide("".join(traceback.format_exception(error)))


def secrets_of(text: str) -> Iterator[str]:
    """Each secret, as it is and as it stands in the URI; those of options that are URIs too."""
    secrets = Uri.parse(text).secrets()
    yield from secrets
    for part in urlsplit(text).query.split("&"):
        written = part.partition("=")[2]
        if any(form in unquote_plus(written) for secret in secrets for form in _forms(secret)):
            yield written


def _forms(secret: str) -> Iterator[str]:
    """How it may be written: in a URI, in what Python shows of it, in JSON."""
    yield secret
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield repr(secret)[1:-1]
    yield json.dumps(secret)[1:-1]
