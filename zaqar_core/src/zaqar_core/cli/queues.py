"""``zaqar queue``: the queues themselves. What is done with their messages is in ``messages`` and ``posting``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zaqar_core.cli.arguments import Commands, add_page, add_queue, add_yes, json_object
from zaqar_core.cli.exits import CommandError, Exit
from zaqar_core.cli.session import Session
from zaqar_core.cli.text import Column, compact, number, seconds
from zaqar_core.errors import QueueDoesNotExist
from zaqar_core.models import MessageRef, QueueStats

NAME = Column("queue")
METADATA = Column("metadata", compact, cut=True)
COUNTS = tuple(Column(state, right=True) for state in ("free", "claimed", "delayed", "total"))


def add(queue: Commands) -> None:
    """The verbs."""
    create = queue.command(
        "create",
        _create,
        "register a queue",
        "A post registers its queue too. On a queue that is there already with the same metadata nothing changes;\n"
        "with other metadata the command is refused.",
    )
    add_queue(create)
    create.add_argument("metadata", metavar="METADATA", nargs="?", type=json_object, help="a JSON object")

    listing = queue.command("list", _list, "list the queues of the project by name")
    listing.add_argument("--prefix", default="", metavar="TEXT", help="only those whose name starts so")
    listing.add_argument("--detailed", action="store_true", help="with their metadata")
    listing.add_argument("--stats", action="store_true", help="with the number of their messages")
    add_page(listing)

    show = queue.command("show", _show, "show a queue's metadata and the number of its messages")
    add_queue(show)
    stats = queue.command("stats", _stats, "show how many messages are free, claimed and delayed")
    add_queue(stats)

    change = queue.command("set-metadata", _set_metadata, "replace a queue's metadata whole")
    add_queue(change)
    change.add_argument("metadata", metavar="METADATA", type=json_object, help="a JSON object")

    update = queue.command("update-metadata", _update_metadata, "set or remove some keys of a queue's metadata")
    add_queue(update)
    update.add_argument(
        "metadata", metavar="METADATA", nargs="?", type=json_object, help="a JSON object: the keys to set; others stay"
    )
    update.add_argument("--remove", action="append", default=[], metavar="KEY", help="a key to remove; may be repeated")

    purge = queue.command("purge", _purge, "delete all messages and claims of a queue")
    delete = queue.command("delete", _delete, "delete a queue with its messages, claims and subscriptions")
    for parser in (purge, delete):
        add_queue(parser)
        add_yes(parser)


def _create(session: Session) -> Exit:
    name, metadata = session.arguments.queue, session.arguments.metadata
    created = session.storage.queues.create(name, metadata or {})
    if not created and metadata is not None and session.storage.queues.get_metadata(name) != metadata:
        raise CommandError(
            f"queue {name!r} is there already, with other metadata: see queue show, change them with update-metadata",
            Exit.REFUSED,
        )
    text = f"created queue {name!r}" if created else f"queue {name!r} was there already"
    session.output.done(text, {"queue": name, "created": created})
    return Exit.DONE


def _list(session: Session) -> Exit:
    given = session.arguments
    columns = [NAME, *(COUNTS if given.stats else ()), *([METADATA] if given.detailed else ())]

    def items() -> Iterator[dict[str, Any]]:
        queues = session.storage.queues
        most = session.storage.limits.max_queues_per_page
        for entry in session.all(queues.list, most=most, detailed=given.detailed, prefix=given.prefix):
            item: dict[str, Any] = {"queue": entry.name}
            if given.detailed:
                item["metadata"] = dict(entry.metadata or {})
            if given.stats:
                item |= _numbers(session.storage.messages.stats(entry.name))
            yield item

    session.output.rows(columns, items(), "no queues")
    return Exit.DONE


def _show(session: Session) -> Exit:
    name = session.arguments.queue
    metadata = session.storage.queues.get_metadata(name)
    item = {"queue": name, "metadata": metadata, **_numbers(session.storage.messages.stats(name))}
    session.output.one([NAME, METADATA, *COUNTS], item)
    return Exit.DONE


def _stats(session: Session) -> Exit:
    stats = session.storage.queues.stats(session.arguments.queue)
    ends = {"oldest": _reference(stats.oldest), "newest": _reference(stats.newest)}
    columns = [NAME, *COUNTS, Column("oldest", _written), Column("newest", _written)]
    session.output.one(columns, {"queue": session.arguments.queue, **_numbers(stats), **ends})
    return Exit.DONE


def _set_metadata(session: Session) -> Exit:
    given = session.arguments
    session.storage.queues.set_metadata(given.queue, given.metadata)
    session.output.done(f"changed queue {given.queue!r}", {"queue": given.queue, "metadata": given.metadata})
    return Exit.DONE


def _update_metadata(session: Session) -> Exit:
    given = session.arguments
    if given.metadata is None and not given.remove:
        raise CommandError(
            "nothing to change: write METADATA, a JSON object of keys to set, or --remove KEY", Exit.USAGE
        )
    metadata = session.storage.queues.update_metadata(given.queue, given.metadata, remove=given.remove)
    session.output.done(f"changed queue {given.queue!r}", {"queue": given.queue, "metadata": metadata})
    return Exit.DONE


def _purge(session: Session) -> Exit:
    name = session.arguments.queue
    total = session.storage.messages.stats(name).total
    if not total and not session.storage.queues.exists(name):
        raise _absent(name)
    session.output.confirm(lambda: f"delete all messages of queue {name!r}, now {total}?", yes=session.arguments.yes)
    session.storage.messages.purge(name)
    session.output.done(
        f"purged queue {name!r}, which had {number(total, 'message')}", {"queue": name, "purged": total}
    )
    return Exit.DONE


def _delete(session: Session) -> Exit:
    name = session.arguments.queue
    if not session.storage.queues.exists(name):
        raise _absent(name)
    total = session.storage.messages.stats(name).total
    session.output.confirm(lambda: f"delete queue {name!r} with {number(total, 'message')}?", yes=session.arguments.yes)
    session.storage.queues.delete(name)
    session.output.done(f"deleted queue {name!r} with {number(total, 'message')}", {"queue": name, "deleted": True})
    return Exit.DONE


def _absent(name: str) -> QueueDoesNotExist:
    return QueueDoesNotExist(f"no queue {name!r} is registered in the project; see queue list")


def _numbers(stats: QueueStats) -> dict[str, Any]:
    return {"free": stats.free, "claimed": stats.claimed, "delayed": stats.delayed, "total": stats.total}


def _reference(message: MessageRef | None) -> dict[str, Any] | None:
    return None if message is None else {"id": message.id, "age": round(message.age, 3)}


def _written(reference: dict[str, Any]) -> str:
    return f"{reference['id']}, {seconds(reference['age'])} old"
