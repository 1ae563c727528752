"""Keeps the secrets of a URI out of what a driver, or the library under it, says about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from zaqar_core.errors import ZaqarError
from zaqar_core.uri import Uri

_SHORTEST = 4
"""Shorter secrets are not hidden: they are part of ordinary words, and hiding them there would tell them."""


class HiddenError(Exception):
    """Stands for another error, whose text showed a secret: its type, and its text with ``***`` instead."""


class Secrets:
    """What no text about these URIs may show: passwords, users without one, and options that sound like a secret.

    Those of fewer than 4 characters are shown.
    """

    def __init__(self, *uris: Uri) -> None:
        self._forms: list[str] = []
        for uri in uris:
            self.take_in(uri)

    def take_in(self, uri: Uri) -> None:
        """Hide those of this URI too."""
        secrets = set(uri.secrets())
        if uri.username and uri.password is None:
            secrets.add(uri.username)
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        self._forms = sorted(forms.union(self._forms), key=len, reverse=True)  # one may be a part of another

    def hide(self, text: str) -> str:
        """The text without them."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def hide_in_error(self, error: BaseException) -> BaseException:
        """The error, without secrets in its text, its causes' and its members' texts; another one if that cannot be."""
        links = list(_links(error))
        if not any(map(self._shows, links)):
            return error
        stands_for: dict[int, BaseException] = {}
        for link in links:
            self._replace(link, stands_for)
        for link in links:
            new = stands_for[id(link)]
            new.__cause__ = None if link.__cause__ is None else stands_for[id(link.__cause__)]
            new.__context__ = None if link.__context__ is None else stands_for[id(link.__context__)]
            new.__suppress_context__ = link.__suppress_context__
        return stands_for[id(error)]

    def _replace(self, error: BaseException, stands_for: dict[int, BaseException]) -> BaseException:
        """What stands for the error from now on; a group is built anew, as its members are fixed."""
        known = stands_for.get(id(error))
        if known is not None:
            return known
        if isinstance(error, BaseExceptionGroup):
            members = [self._replace(member, stands_for) for member in error.exceptions]
            new: BaseException = error
            if self._shows(error) or [*map(id, members)] != [*map(id, error.exceptions)]:
                new = BaseExceptionGroup(self.hide(error.message), members).with_traceback(error.__traceback__)
        else:
            new = self._replaced(error)
        return stands_for.setdefault(id(error), new)

    def _replaced(self, error: BaseException) -> BaseException:
        if self._shows(error) and isinstance(error, ZaqarError):
            error.args = (self.hide(said(error)),)
            error.__notes__ = []
        if not self._shows(error):
            return error
        return HiddenError(f"{type(error).__name__}: {self.hide(said(error))}").with_traceback(error.__traceback__)

    def _shows(self, error: BaseException) -> bool:
        texts = [said(error), *map(str, getattr(error, "__notes__", ()))]
        try:
            texts.append(repr(error))
        except Exception:
            texts.append("")  # a traceback shows what str() gives
        return any(self.hide(text) != text for text in texts)


def said(error: BaseException) -> str:
    """What ``str`` makes of any error; never an error itself."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its text fails with {type(failure).__name__}>"


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """The error, all that led to it, and the members of groups, each once."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                todo += link.exceptions


def _forms(secret: str) -> Iterable[str]:
    """How it may be written: in a URI, in what Python shows of it, in JSON."""
    written = secret.encode(errors="surrogatepass")
    return (
        secret,
        quote(written, safe=""),
        quote(written),
        quote_plus(written),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
    )
