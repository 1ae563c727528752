"""Mutants that list wrongly: pages, filters, markers."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import NamedTuple

from zaqar_conformance.mutants.pauses import round_trip
from zaqar_conformance.mutants.zoo import mutant
from zaqar_conformance.reference.claims import ReferenceClaims
from zaqar_conformance.reference.messages import ReferenceMessages
from zaqar_conformance.reference.state import Item, QueueState
from zaqar_core.contract import EncodedMessage, QueueKey, StoredPage
from zaqar_core.errors import InvalidMarker


class Asked(NamedTuple):
    """What a listing is asked for, beside its queue."""

    marker: str | None
    limit: int
    exclude_client: str | None
    include_claimed: bool
    include_delayed: bool


class Listing(ReferenceMessages):
    """A base: ``page`` is what a mutant does wrong, ``right`` what the reference does."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        raise NotImplementedError

    def right(self, queue: QueueKey, asked: Asked) -> StoredPage:
        return super().list(queue, **asked._asdict())

    def list(
        self,
        queue: QueueKey,
        *,
        marker: str | None,
        limit: int,
        exclude_client: str | None,
        include_claimed: bool,
        include_delayed: bool,
    ) -> StoredPage:
        with self._state.lock:
            return self.page(queue, Asked(marker, limit, exclude_client, include_claimed, include_delayed))

    def found(self, queue: QueueKey, asked: Asked) -> builtins.list[Item]:
        """All that a listing from the beginning shows."""
        now = self._state.now()
        shown = self._state.queue(queue, now).by_position(
            now, claimed=asked.include_claimed, delayed=asked.include_delayed
        )
        return [item for item in shown if item.client_id != asked.exclude_client]

    def cut(self, items: Sequence[Item], asked: Asked, marker: str) -> StoredPage:
        """The page that begins with these items."""
        now = self._state.now()
        shown = [item.stored(now) for item in items[: asked.limit]]
        return StoredPage(shown, marker, len(items) > asked.limit)


@mutant("LST-001")
class PagesSkipOne(Listing):
    """The marker names the next page's first message, which that page then leaves out."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        following = self.right(queue, asked._replace(limit=asked.limit + 1))
        return page._replace(marker=following.marker) if page.more else page


@mutant("LST-001")
class PagesRepeatOne(Listing):
    """A page begins with the message at the marker instead of behind it."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        if len(page.items) < 2:
            return page
        return page._replace(marker=self.right(queue, asked._replace(limit=len(page.items) - 1)).marker)


@mutant("LST-001")
class ThePageEndsAtAThousand(Listing):
    """The datastore gives at most 1 000 rows a request, and the driver takes that for the end."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked._replace(limit=min(asked.limit, 1000)))
        return page._replace(more=page.more and asked.limit <= 1000)


@mutant("LST-002")
class ClaimedComeLast(Listing):
    """``include_claimed`` puts the claimed messages behind the active ones."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        return page._replace(items=sorted(page.items, key=lambda message: message.claim_id is not None))


@mutant("LST-002")
class ClaimedDoNotSayByWhom(Listing):
    """``include_claimed`` shows claimed messages without their claim's id."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        return page._replace(items=[message._replace(claim_id=None) for message in page.items])


@mutant("LST-002")
class ClaimedMeansDelayedToo(Listing):
    """``include_claimed`` shows delayed messages as well."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        return self.right(queue, asked._replace(include_delayed=asked.include_claimed or asked.include_delayed))


@mutant("LST-003")
class DelayedNeverShow(Listing):
    """``include_delayed`` is not looked at."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        return self.right(queue, asked._replace(include_delayed=False))


@mutant("LST-004")
class FiltersRunAfterPaging(Listing):
    """The asker's own messages are taken out of a page that was already cut, so that it may be empty."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked._replace(exclude_client=None))
        items = [message for message in page.items if message.client_id != asked.exclude_client]
        return page._replace(items=items, more=page.more and bool(items))


@mutant("LST-004")
class EchoIsIgnored(Listing):
    """``echo=False`` shows the asker's own messages too."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        return self.right(queue, asked._replace(exclude_client=None))


@mutant("LST-005")
class AFullPageMeansMore(Listing):
    """``more`` says that the page is full, not that something follows."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        return page._replace(more=len(page.items) == asked.limit)


@mutant("LST-005")
class MoreCountsWhatIsHidden(Listing):
    """``more`` counts claimed messages, which the listing does not show."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        behind = self.right(queue, asked._replace(include_claimed=True))
        return self.right(queue, asked)._replace(more=behind.more)


@mutant("LST-006")
class AnEmptyPageStartsAgain(Listing):
    """The marker of an empty page leads to the beginning."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        return page if page.items else page._replace(marker="")


@mutant("LST-006")
class AnEmptyPageSkipsWhatComes(Listing):
    """The marker of an empty page lies in the future, so that what is posted next is not shown."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        return page if page.items else page._replace(marker=f"{self._state.now() + 60_000}-0")


@mutant("LST-006")
class HiddenMessagesMoveMarkers(Listing):
    """The marker is that of the last message looked at, shown or not: a delayed one lies in the future."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        page = self.right(queue, asked)
        looked_at = self.right(queue, asked._replace(exclude_client=None, limit=asked.limit + 1000))
        return page if page.more else page._replace(marker=looked_at.marker)


@mutant("LST-005")
class APageLooksAtAThousand(Listing):
    """A page looks at 1 000 messages, whoever posted them, and says that there is more if others are behind."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        looked_at = self.right(queue, asked._replace(exclude_client=None, limit=1000))
        shown = [message for message in looked_at.items if message.client_id != asked.exclude_client]
        if len(shown) > asked.limit or not looked_at.more:
            return self.right(queue, asked)
        return StoredPage(shown, looked_at.marker, more=True)


@mutant("LST-007")
class AMarkerIsAMessage(Listing):
    """The marker is the last message's id; once that is gone, or not active, the listing starts again."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        found = self.found(queue, asked)
        if asked.marker is not None and asked.marker.count("-") == 1 and asked.marker.replace("-", "").isdigit():
            return self.right(queue, asked)
        places = {item.id: place for place, item in enumerate(found)}
        left = found[places.get(asked.marker or "", -1) + 1 :]
        marker = left[: asked.limit][-1].id if left else (asked.marker or "0-0")
        return self.cut(left, asked, marker)


@mutant("LST-007", "LST-010")
class AMarkerIsAnOffset(Listing):
    """The marker is how many messages were shown; when some are deleted as many others are skipped."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        if asked.marker is not None and not asked.marker.isdecimal():
            raise InvalidMarker(f"{asked.marker!r} is no marker")
        offset = int(asked.marker or 0)
        left = self.found(queue, asked)[offset:]
        return self.cut(left, asked, str(offset + len(left[: asked.limit])))


@mutant("LST-008")
class PurgeStartsNumbersAgain(Listing):
    """The marker is a message's number in its queue, and a purge starts the numbers again."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        if asked.marker is not None and not asked.marker.isdecimal():
            raise InvalidMarker(f"{asked.marker!r} is no marker")
        after = int(asked.marker or 0)
        held = self._state.queue(queue, self._state.now())
        numbers = self._numbers(held)
        left = [item for item in self.found(queue, asked) if numbers[item.id] > after]
        return self.cut(left, asked, str(max((numbers[item.id] for item in left[: asked.limit]), default=after)))

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            self._numbers(self._state.queue(queue, self._state.now()))
            return ids

    @staticmethod
    def _numbers(held: QueueState) -> dict[str, int]:
        """Of each message; what the queue has lost keeps its number."""
        numbers: dict[str, int] = vars(held).setdefault("numbers", {})
        for item in held.items.values():
            numbers.setdefault(item.id, len(numbers) + 1)
        return numbers


@mutant("LST-009")
class AnyMarkerWillDo(Listing):
    """A malformed marker is taken for none: the listing starts again."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        try:
            return self.right(queue, asked)
        except InvalidMarker:
            return self.right(queue, asked._replace(marker=None))


@mutant("LST-009")
class MarkersAreParsed(Listing):
    """A malformed marker raises what parsing it raises."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        if asked.marker is not None:
            [int(part) for part in asked.marker.split("-")]
        return self.right(queue, asked)


@mutant("LST-010")
class NumbersComeBeforeTheirRows(ReferenceMessages):
    """A post takes its number from a sequence and commits later: a listing may have passed that place by then."""

    def post(self, queue: QueueKey, messages: Sequence[EncodedMessage], *, client_id: str) -> list[str]:
        with self._state.lock:
            place = self._state.place(self._state.now())
            first = self._state.next()
            self._state._last += len(messages)
        round_trip()
        with self._state.lock:
            ids = super().post(queue, messages, client_id=client_id)
            items = self._state.queue(queue, self._state.now()).items
            for number, message_id in enumerate(ids):
                if message_id in items and not messages[number].delay:
                    items[message_id].place, items[message_id].order = place, first + number
            return ids


@mutant("LST-011")
class ReleasedGoToTheEnd(ReferenceClaims):
    """A released message is put at the end of the queue, where a listing meets it again."""

    def release(
        self, queue: QueueKey, claim_id: str, *, message_ids: Sequence[str] | None = None, delay: float = 0.0
    ) -> None:
        with self._state.lock:
            now = self._state.now()
            held = self._state.queue(queue, now)
            mine = [item for item in held.by_position(now, claimed=True) if item.claim_id == claim_id]
            super().release(queue, claim_id, message_ids=message_ids, delay=delay)
            for item in mine:
                if item.claim_id is None and not delay:
                    item.place, item.order = now, self._state.next()


@mutant("LST-012")
class MarkersGoByThePost(Listing):
    """Listings go by the order of posts: what was delayed becomes available behind the marker and is never shown."""

    def page(self, queue: QueueKey, asked: Asked) -> StoredPage:
        if asked.marker is not None and not asked.marker.isdecimal():
            raise InvalidMarker(f"{asked.marker!r} is no marker")
        after = int(asked.marker or 0)
        left = sorted(self.found(queue, asked), key=lambda item: item.order)
        left = [item for item in left if item.order > after]
        return self.cut(left, asked, str(left[: asked.limit][-1].order if left else after))
