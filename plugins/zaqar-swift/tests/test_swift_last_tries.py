"""What one claim takes together where tries are counted, and what a release may do to a message's life and place."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import pytest

from zaqar_core.contract import EncodedMessage, QueueKey, StoredClaim
from zaqar_core.errors import InvalidDuration, OutcomeUnknown, StorageUnavailable
from zaqar_swift.driver import SwiftDriver
from zaqar_swift.names import CLAIMS
from zaqar_swift.queues import Queues

OpenDriver = Callable[..., SwiftDriver]
Post = Callable[..., list[str]]
Shown = Callable[[SwiftDriver], list[str]]


@pytest.fixture
def driver(open_either: OpenDriver) -> SwiftDriver:
    return open_either()


def claim(driver: SwiftDriver, queue: QueueKey, *, limit: int = 10, tries: int | None = 3) -> StoredClaim:
    return driver.claims.create(queue, ttl=60, grace=0, limit=limit, max_claim_count=tries)


def take(driver: SwiftDriver, queue: QueueKey, *, limit: int = 10, tries: int | None = 3) -> list[str]:
    return [message.id for message in claim(driver, queue, limit=limit, tries=tries).messages]


def use_up(driver: SwiftDriver, queue: QueueKey, count: int, times: int) -> None:
    """Claim the first messages so many times, and release them."""
    for _ in range(times):
        made = claim(driver, queue, limit=count, tries=None)
        assert len(made.messages) == count
        driver.claims.release(queue, str(made.id))


def test_messages_on_their_last_try_are_taken_alone(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    first, second, third = post(driver, 3)
    use_up(driver, queue, 2, 2)
    assert [take(driver, queue) for _ in range(4)] == [[first], [second], [third], []]


def test_a_claim_ends_before_a_message_on_its_last_try(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    last, earlier = post(driver, 2)
    use_up(driver, queue, 1, 1)
    made = claim(driver, queue, limit=1, tries=None)
    driver.claims.release(queue, str(made.id), delay=0.01)  # which moves it behind what was posted before
    later = post(driver, 2)
    assert [take(driver, queue) for _ in range(3)] == [[earlier], [last], later]


def test_used_up_messages_accompany_one_on_its_last_try(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    used_up, last, *healthy = post(driver, 4)
    use_up(driver, queue, 1, 1)
    use_up(driver, queue, 2, 2)
    made = claim(driver, queue)
    assert [message.id for message in made.exhausted] == [used_up]
    assert [message.id for message in made.messages] == [last]
    assert take(driver, queue) == healthy


@pytest.mark.parametrize("tries", [None, 1])
def test_one_try_at_all_protects_nothing(driver: SwiftDriver, queue: QueueKey, post: Post, tries: int | None) -> None:
    ids = post(driver, 3)
    assert take(driver, queue, tries=tries) == ids


def test_claimers_share_out_messages_on_their_last_try(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """Side by side, one message each; none is told that there is nothing while there is something."""
    ids = post(driver, 6)
    use_up(driver, queue, 6, 2)
    taken: list[list[str]] = []

    def work() -> None:
        taken.extend(take(driver, queue) for _ in range(2))

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [[some_id] for some_id in ids]


def test_the_count_by_which_a_message_was_chosen_is_the_one_that_is_swapped(
    open_with: OpenDriver, queue: QueueKey, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client claims and releases between a claimer's look and its swap: the neighbours are spared."""
    driver, other = open_with(), open_with()
    ids = post(driver, 3)
    use_up(other, queue, 1, 1)
    keep_longer = Queues.keep_longer
    interfered: list[int] = []

    def slow(queues: Queues, *arguments: object) -> object:
        if queues is driver._queues and not interfered:
            interfered.append(1)
            use_up(other, queue, 1, 1)
        return keep_longer(queues, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Queues, "keep_longer", slow)
    assert take(driver, queue) == ids[:1]
    assert interfered


def test_a_delay_that_outlasts_a_message_is_refused(driver: SwiftDriver, queue: QueueKey, post: Post) -> None:
    """Nothing is released; what was deleted meanwhile does not matter, and the claim's extension counts."""
    short, long = post(driver, ttl=60.0) + post(driver, ttl=600.0)
    made = claim(driver, queue)
    with pytest.raises(InvalidDuration, match="nothing was released"):
        driver.claims.release(queue, str(made.id), delay=60.5)
    held = driver.claims.get(queue, str(made.id))
    assert held is not None
    assert [message.id for message in held.messages] == [short, long]
    driver.claims.update(queue, str(made.id), ttl=60, grace=30)
    driver.claims.release(queue, str(made.id), message_ids=[short], delay=60.5)
    made = claim(driver, queue)
    gone, [stays] = post(driver, ttl=60.0), post(driver, ttl=600.0)
    other = claim(driver, queue)
    assert driver.messages.delete(queue, gone, claim_ids=[str(other.id)]) == {}
    driver.claims.release(queue, str(other.id), delay=90)
    [message] = driver.messages.get(queue, [stays])
    assert message.claim_id is None


def test_messages_released_together_with_a_delay_keep_their_order(
    driver: SwiftDriver, queue: QueueKey, post: Post
) -> None:
    ids = post(driver, 5)
    made = claim(driver, queue)
    driver.claims.release(queue, str(made.id), message_ids=[ids[3], ids[0], ids[4]], delay=60)
    page = driver.messages.list(
        queue, marker=None, limit=10, exclude_client=None, include_claimed=False, include_delayed=True
    )
    assert [message.id for message in page.items] == [ids[0], ids[3], ids[4]]


def test_a_pop_that_could_delete_nothing_took_nothing(
    open_driver: OpenDriver, queue: QueueKey, post: Post, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is taken back before it says so; if that fails too, it says that it does not know."""
    driver = open_driver()
    ids = post(driver, 2)
    deleted = driver._store.delete

    def refuse_messages(container: str, name: str, deadline: float) -> bool:
        if CLAIMS in name:
            return deleted(container, name, deadline)
        raise StorageUnavailable("refused")

    def refuse(*_: object) -> bool:
        raise StorageUnavailable("refused")

    with monkeypatch.context() as patched:
        patched.setattr(driver._store, "delete", refuse_messages)
        with pytest.raises(StorageUnavailable) as caught:
            driver.messages.pop(queue, limit=2)
        assert not isinstance(caught.value, OutcomeUnknown)
    assert shown(driver) == ids
    with monkeypatch.context() as patched:
        patched.setattr(driver._store, "delete", refuse)
        with pytest.raises(OutcomeUnknown):
            driver.messages.pop(queue, limit=2)


def test_a_deletion_that_fails_while_reading_has_changed_nothing(
    open_with: OpenDriver, queue: QueueKey, post: Post, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a coordinator, which would say that a message is gone before Swift was asked about the refused ones."""
    driver = open_with()
    held = post(driver)
    made = claim(driver, queue)
    assert len(made.messages) == 1
    free = post(driver)

    def fail(*_: object) -> None:
        raise StorageUnavailable("the server is paused")

    with monkeypatch.context() as patched:
        patched.setattr(driver._queues, "find", fail)
        with pytest.raises(StorageUnavailable):
            driver.messages.delete(queue, [*free, *held], claim_ids=None)
    assert take(driver, queue) == free


def test_a_message_is_read_by_the_names_of_its_fields(driver: SwiftDriver, queue: QueueKey) -> None:
    """So a field that is new in the contract breaks nothing."""

    class Wider:
        def __init__(self, message: EncodedMessage) -> None:
            self.body, self.ttl, self.delay = message.body, message.ttl, message.delay
            self.headers, self.dedup_id, self.priority = message.headers, message.dedup_id, 7

    wider: list[EncodedMessage] = [Wider(EncodedMessage(b"1", 60.0))]  # type: ignore[list-item]
    assert len(driver.messages.post(queue, wider, client_id="c")) == 1
