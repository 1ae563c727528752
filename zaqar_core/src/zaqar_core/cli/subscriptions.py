"""``zaqar subscription``: who wants to be told about a queue's messages."""

from __future__ import annotations

from functools import partial
from typing import Any

from zaqar_core.cli.arguments import Commands, add_page, add_queue, add_yes, duration, json_object
from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, seconds, words
from zaqar_core.errors import InvalidUri, SubscriptionDoesNotExist
from zaqar_core.models import Subscription
from zaqar_core.uri import Uri

COLUMNS = (
    Column("id"),
    Column("confirmed", lambda confirmed: "yes" if confirmed else "no"),
    Column("ttl", seconds, right=True),
    Column("options", words),
    Column("subscriber", cut=True),
)


def add(subscription: Commands) -> None:
    """The verbs."""
    create = subscription.command("create", _create, "subscribe to a queue; a queue has a subscriber once")
    add_queue(create)
    create.add_argument("subscriber", metavar="SUBSCRIBER", help="a URI: https://..., mailto:...")
    create.add_argument("--ttl", type=duration, metavar="SECONDS", help="when it ends (never)")
    create.add_argument("--options", type=json_object, metavar="JSON", help="an object")
    listing = subscription.command("list", _list, "list a queue's subscriptions, without secrets and values of options")
    add_queue(listing)
    add_page(listing)
    confirm = subscription.command("confirm", _confirm, "note that the subscriber agreed")
    confirm.add_argument("--revoke", action="store_true", help="note that it does no more")
    delete = subscription.command("delete", _delete, "delete a subscription")
    for parser in (confirm, delete):
        add_queue(parser)
        parser.add_argument("subscription", metavar="SUBSCRIPTION_ID", help="its id")
    add_yes(delete)


def _create(session: Session) -> Exit:
    given, subscriptions = session.arguments, session.storage.subscriptions
    created = subscriptions.create(given.queue, subscriber=given.subscriber, ttl=given.ttl, options=given.options)
    if created is None:
        found = subscriptions.get_with_subscriber(given.queue, given.subscriber)
        if (found.ttl, found.options) != (given.ttl, given.options or {}):
            raise CommandError(
                f"the subscriber has the subscription {found.id} on queue {given.queue!r}, with another ttl or other "
                "options; delete it first",
                Exit.REFUSED,
            )
        session.output.done(f"subscription {found.id} was there already", {"id": found.id, "created": False})
    else:
        session.output.done(f"created subscription {created}", {"id": created, "created": True})
    return Exit.DONE


def _list(session: Session) -> Exit:
    queue, subscriptions = session.arguments.queue, session.storage.subscriptions
    found = session.all(partial(subscriptions.list, queue))
    session.output.rows(COLUMNS, map(_item, found), f"no subscriptions on queue {queue!r}")
    return Exit.DONE


def _confirm(session: Session) -> Exit:
    given = session.arguments
    session.storage.subscriptions.confirm(given.queue, given.subscription, confirmed=not given.revoke)
    done = "revoked" if given.revoke else "confirmed"
    item = {"id": given.subscription, "confirmed": not given.revoke}
    session.output.done(f"{done} subscription {given.subscription}", item)
    return Exit.DONE


def _delete(session: Session) -> Exit:
    given = session.arguments
    if not session.storage.subscriptions.exists(given.queue, given.subscription):
        raise SubscriptionDoesNotExist(f"no subscription {given.subscription!r} on queue {given.queue!r}")
    session.output.confirm(lambda: f"delete subscription {given.subscription}?", yes=given.yes)
    session.storage.subscriptions.delete(given.queue, given.subscription)
    session.output.done(f"deleted subscription {given.subscription}", {"id": given.subscription, "deleted": True})
    return Exit.DONE


def _item(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "subscriber": _masked(subscription.subscriber),
        "ttl": subscription.ttl,
        "options": dict.fromkeys(sorted(subscription.options), "***"),
        "confirmed": subscription.confirmed,
    }


def _masked(subscriber: str) -> str:
    """The address without user, password and what sounds like a secret."""
    scheme = subscriber.partition(":")[0]
    if scheme == "mailto":
        return subscriber.partition("?")[0]
    try:
        return str(Uri.parse(subscriber))
    except InvalidUri:
        return f"{scheme}:***"
