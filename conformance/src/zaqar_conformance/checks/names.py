"""Checks of names and tenancy: any name works, and no two queues are ever one."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from operator import eq, not_

from zaqar_conformance.check import check, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import (
    LONG,
    difference,
    ids_of,
    in_calls,
    keeps_records,
    listed,
    post,
    see_fetched,
    see_listed,
    see_stats,
    take,
)
from zaqar_conformance.env import Env
from zaqar_core import Capability, NewMessage
from zaqar_core.contract import new_id
from zaqar_core.errors import ClaimDoesNotExist, MessageDoesNotExist, QueueIsEmpty

NAMES = [
    *("a", "0", "-1", "1e3", "x" * 64, "\u00e9" * 64, "€" * 64, "\U0001f600" * 48, "\U0010ffff", " ", "  ", " a"),
    *("a ", "a b", "\t", "\n", "\r\n", "a\n", "\u00a0", "\u2003", "\u2028", ".", "..", "...", "./a", "../.."),
    *("a.b", ".hidden", "/", "//", "/a", "a/", "a/b", "a//b", "\\", "a\\b", "C:\\a", ":", "a:b", "::", "|", ","),
    *(";", "-", "--", "_", "__", "~", "+", "=", "@", "!", "^", "&a=b", "#", "a#b", "a?b=c", "%", "%%", "a%", "*"),
    *("**", "?", "[", "]", "[a]", "[!a]", "[a-z]", "{", "}", "{}", "{a,b}", "(a|b)+", ".*", "^a$", "'", "''", '"'),
    *('""', "`", "'; DROP TABLE messages; --", "' OR '1'='1", '"a"', "/* a */", "$", "$1", "${a}", "%s", "%00"),
    *("%2F", "%2e%2e", "a%20b", "%E2%82%AC", "&amp;", "<a>", "<!--", "]]>", "\\u0000", "\\x00", "\\n", "CON"),
    *("nul.txt", "null", "None", "true", "NaN", "__proto__", "constructor", "undefined", "messages", "queues"),
    *("\u0001", "\u001b[31m", "\u007f", "\u0085", "\u00ad", "\u200b", "\u200d", "\ufeff", "\ufffd", "\uffff"),
    *("\ue000", "\u202eabc", "\u05d0\u05d1", "\u0627\u0644", "\u0301", "e\u0301", "\u00e9", "日本語", "👨‍👩‍👧‍👦", "🇩🇪"),
    *("ﷺ", "ß"),
    "\u0130",
]
"""Queue names that drivers have been seen, or can be imagined, to get wrong."""

SIMILAR = [
    *("a", "A", "\u00e1", "a\u0301", "\u0430", "\uff41", "a ", " a", "a\n", "a\t", "a\u00a0", "a\u200b", "a\u00ad"),
    *("\ufeffa", "a\u0301 ", "k", "K", "\u212a", "\u00e5", "\u00c5", "\u212b", "A\u030a", "ß", "ss", "SS", "ẞ"),
    *("ﬁ", "fi", "\u0131", "i", "I", "\u0130", "i\u0307", "1", "\u0661", "\uff11", "¹", "01", "1.0", "+1", "1 "),
    *("a/b", "a//b", "a/./b", "a/b/", "/a/b", "a%2Fb", "a%2fb", "a b", "a+b", "a%20b", "A%2FB", "a\\b", "a/../b"),
    *("a_c", "abc", "a%c", "a*c", "a?c", "a[b]c", "a[a-z]c", "a.c", "a\\_c", "a%%c", "a**c", "abbc"),
    *("x" * 63 + "a", "x" * 63 + "b", "x" * 63, "€" * 63 + "a", "€" * 63 + "b"),
]
"""Names of which some are the same to a driver that folds, trims, normalises, decodes, cuts or matches patterns."""

PROJECTS = [
    *("", "p", "P", "p ", " p", "p\n", "x" * 256, "x" * 255 + "y", "\u00e9" * 256, "\U0001f600" * 256, "None"),
    *("null", "0", "-", ".", "..", "/", "a/b", "a.b", "a:b", "%", "%%", "_", "*", "?", "[a]", "'", '"'),
    *("'; DROP TABLE messages; --", "\\", "\u00e9", "e\u0301", "\u0001", "\u007f", "\uffff", "\u202ep", "\u200b"),
    *("{}", "$", "#", "?a=b", "%2F", "CON"),
]

SEPARATORS = [*"./:|,;-_~+=@#%&!?*\\'\" \t\n\x1f\x01", "::", "//", "--", "\\."]


@check("NAM-001", thorough=True)
def any_queue_name_works(env: Env) -> None:
    """A queue of any name takes, shows, counts and gives away messages."""
    for name in NAMES:
        ids = env.storage.messages.post(name, [NewMessage(name, ttl=600), NewMessage(2, ttl=600)])
        see_listed(env, name, ids, "NAM-001", f"2 messages in the queue {name!r}")
        see_fetched(env, name, ids, ids, "NAM-001", f"2 messages in the queue {name!r}")
        ensure_equal(listed(env, name)[0].body, name, "NAM-001", f"the first body in the queue {name!r}")
        see_stats(env, name, "NAM-001", f"2 messages in the queue {name!r}", free=2)
        env.storage.messages.delete(name, ids[0])
        see_listed(env, name, ids[1:], "NAM-001", f"the queue {name!r} after one of its messages was deleted")
        env.storage.messages.purge(name)
        see_stats(env, name, "NAM-001", f"the purged queue {name!r}")


@check("NAM-001", thorough=True)
def any_queue_name_takes_claims_and_pops(env: Env) -> None:
    """Messages of a queue of any name are claimed, released and popped, where the driver has that."""
    for name in NAMES:
        ids = post(env, name, 3)
        if env.declares(Capability.CLAIMS):
            claim, held = take(env, name, 2)
            ensure_equal(ids_of(held), ids[:2], "NAM-001", f"messages claimed in the queue {name!r}")
            found = env.storage.claims.get(name, claim)
            ensure_equal(ids_of(found.messages), ids[:2], "NAM-001", f"messages of a claim in the queue {name!r}")
            env.storage.messages.delete(name, ids[0], claim_id=claim)
            env.storage.claims.delete(name, claim)
            see_listed(env, name, ids[1:], "NAM-001", f"the queue {name!r} after a release")
        if env.declares(Capability.POP):
            left = ids_of(listed(env, name))
            popped = ids_of(env.storage.messages.pop(name, 10))
            ensure_equal(popped, left, "NAM-001", f"messages popped from the queue {name!r}")


@check("NAM-001", thorough=True)
def any_queue_name_can_be_registered(env: Env) -> None:
    """A queue of any name can be created, given metadata, found and deleted."""
    if not keeps_records(env):
        return
    for name in NAMES:
        ensure_equal(env.storage.queues.create(name, {"name": name}), True, "NAM-001", f"create({name!r})")
        exists = partial(env.storage.queues.exists, name)
        env.see(exists, bool, "NAM-001", f"exists({name!r}) after it was created")
        metadata = env.storage.queues.get_metadata(name)
        ensure_equal(metadata, {"name": name}, "NAM-001", f"metadata of the queue {name!r}")
        env.storage.queues.delete(name)
        env.see(exists, not_, "NAM-001", f"exists({name!r}) after it was deleted")


@check("NAM-002", thorough=True)
def any_project_works(env: Env) -> None:
    """A queue in a project of any name, the empty one too, takes, shows, claims and loses messages."""
    queue = env.queue()
    for project in PROJECTS:
        where = f"the project {project!r}"
        ids = env.storage.messages.post(queue, [NewMessage(project, ttl=600)], project=project)
        see_listed(env, queue, ids, "NAM-002", where, project=project)
        see_stats(env, queue, "NAM-002", where, free=1, project=project)
        ensure_equal(listed(env, queue, project=project)[0].body, project, "NAM-002", f"the body in {where}")
        if env.declares(Capability.CLAIMS):
            claim = env.storage.claims.create(queue, project=project)
            ensure_equal(ids_of(claim.messages), ids, "NAM-002", f"messages claimed in {where}")
            env.storage.claims.delete(queue, str(claim.id), project=project)
        env.storage.messages.delete(queue, ids[0], project=project)
        see_listed(env, queue, [], "NAM-002", f"{where} after its message was deleted", project=project)
        if keeps_records(env):
            env.storage.queues.delete(queue, project=project)


@check("NAM-003", thorough=True)
def similar_names_are_different_queues(env: Env) -> None:
    """Names that differ in case, composition, spaces, encoding or pattern characters are different queues."""
    posted = {name: env.storage.messages.post(name, [NewMessage(name, ttl=600)]) for name in SIMILAR}
    for name, ids in posted.items():
        see_listed(env, name, ids, "NAM-003", f"one message was posted to {name!r} and others to similar names;")
        see_stats(env, name, "NAM-003", f"one message in {name!r}, others in similar names", free=1)


@check("NAM-003", thorough=True)
def purging_a_queue_spares_similar_names(env: Env) -> None:
    """A purge of ``a%c`` or ``A`` leaves ``abc`` and ``a`` alone."""
    posted = {name: env.storage.messages.post(name, [NewMessage(name, ttl=600)]) for name in SIMILAR}
    doomed = [name for name in SIMILAR if not name.isalnum() or name.isupper()]
    for name in doomed:
        env.storage.messages.purge(name)
    for name, ids in posted.items():
        what = f"{name!r} after purges of {len(doomed)} queues of similar names"
        see_listed(env, name, [] if name in doomed else ids, "NAM-003", what)


@check("NAM-003")
def queues_are_listed_by_their_very_names(env: Env) -> None:
    """A listing of queues gives back each name code point by code point."""
    if not keeps_records(env):
        return
    names = sorted({*NAMES, *SIMILAR})
    for name in names:
        ensure_equal(env.storage.queues.create(name), True, "NAM-003", f"create({name!r}) beside similar names")
    limit = min(len(names) + 1, env.storage.limits.max_queues_per_page)

    def seen() -> list[str]:
        found: list[str] = []
        marker = None
        while True:
            page = env.storage.queues.list(limit=limit, marker=marker)
            found += [entry.name for entry in page.items]
            if not page.more:
                return found
            marker = page.marker

    shown = env.see(seen, lambda found: len(found) >= len(names), "NAM-003", f"a listing of {len(names)} queues")
    different = difference(shown, names)
    ensure_equal(different, "", "NAM-003", "difference between the names listed and those created")


@check("NAM-003", thorough=True)
def similar_projects_are_different(env: Env) -> None:
    """Projects that differ in a single code point do not share a queue."""
    queue = env.queue()
    tail = new_id()
    projects = [f"{tail}{name}" for name in SIMILAR] + [f"{name}{tail}" for name in (" ", "\n", "\u200b", "")]
    posted = {project: post(env, queue, 1, project=project) for project in projects}
    for project, ids in posted.items():
        what = f"one message in the project {project!r}, others in similar ones;"
        see_listed(env, queue, ids, "NAM-003", what, project=project)


@check("NAM-004", thorough=True)
def joined_names_stay_apart(env: Env) -> None:
    """Pairs of project and queue that read the same once joined by a separator hold their own messages."""
    root = new_id()
    for separator in SEPARATORS:
        pairs = _joined(root, separator)
        posted = {pair: post(env, pair[1], 1, project=pair[0]) for pair in pairs}
        for (project, queue), ids in posted.items():
            what = f"one message in each of {pairs!r}; in the project {project!r} the queue {queue!r}"
            see_listed(env, queue, ids, "NAM-004", what, project=project)
            see_stats(env, queue, "NAM-004", what, free=1, project=project)
        env.storage.messages.purge(pairs[0][1], project=pairs[0][0])
        for project, queue in pairs[1:]:
            what = f"after a purge of {pairs[0]!r} the queue {(project, queue)!r}"
            see_listed(env, queue, posted[project, queue], "NAM-004", what, project=project)
        for project, queue in pairs:
            env.storage.messages.purge(queue, project=project)


@check("NAM-004", thorough=True)
def joined_names_are_registered_apart(env: Env) -> None:
    """Creating one of two queues whose joined names read the same does not create the other."""
    if not keeps_records(env):
        return
    root = new_id()
    for separator in SEPARATORS:
        pairs = _joined(root, separator)
        for project, queue in pairs:
            created = env.storage.queues.create(queue, {"of": project}, project=project)
            ensure_equal(created, True, "NAM-004", f"create({queue!r}, project={project!r}) beside {pairs!r}")
        for project, queue in pairs:
            what = f"metadata of the queue {queue!r} in the project {project!r} beside {pairs!r}"
            read = partial(env.storage.queues.get_metadata, queue, project=project)
            env.see(read, partial(eq, {"of": project}), "NAM-004", what)
        for project, queue in pairs:
            env.storage.queues.delete(queue, project=project)


@check("NAM-005", thorough=True)
def queues_named_like_internal_keys_are_just_queues(env: Env) -> None:
    """Queues named like a backend's tables, files and keys, and like parts of another queue's keys, hurt nothing."""
    main = env.queue("q")
    ids = post(env, main, 5)
    claim = take(env, main, 2)[0] if env.declares(Capability.CLAIMS) else None
    names = [*_INTERNAL, *(f"{main}{mark}{word}" for mark in ".:/-_|" for word in _PARTS)]
    names += [f"{word}{mark}{main}" for mark in ".:/" for word in ("messages", "claims", "queues", "q", "queue")]
    posted = {name: post(env, name, 1) for name in names}
    for name, theirs in posted.items():
        see_listed(env, name, theirs, "NAM-005", f"one message in the queue {name!r}")
        see_stats(env, name, "NAM-005", f"one message in the queue {name!r}", free=1)
    what = f"5 messages in the queue {main!r}, beside {len(names)} queues named like internal keys"
    see_listed(env, main, ids, "NAM-005", what, include_claimed=True)
    held = 0 if claim is None else 2
    see_stats(env, main, "NAM-005", what, free=5 - held, claimed=held)
    for name in names:
        env.storage.messages.purge(name)
        if keeps_records(env):
            env.storage.queues.delete(name)
    what = f"5 messages in the queue {main!r} after {len(names)} queues named like internal keys were deleted"
    see_listed(env, main, ids, "NAM-005", what, include_claimed=True)
    if claim is not None:
        ensure_equal(ids_of(env.storage.claims.get(main, claim).messages), ids[:2], "NAM-005", f"the claim on {main!r}")


@check("NAM-006")
def projects_do_not_read_each_other(env: Env) -> None:
    """Messages and counts of a queue do not show in another project's queue of the same name."""
    queue, others = env.queue(), [f"{env.project}-other", ""]
    ids = post(env, queue, 3)
    for other in others:
        what = f"3 messages were posted in the project {env.project!r}; in the project {other!r} the queue of that name"
        see_listed(env, queue, [], "NAM-006", what, project=other, include_claimed=True, include_delayed=True)
        see_stats(env, queue, "NAM-006", what, project=other)
        ensure_raises(
            QueueIsEmpty,
            "NAM-006",
            f"first() of {what}",
            partial(env.storage.messages.first, queue, project=other),
        )
    mine = post(env, queue, 2, project=others[0])
    what = "2 messages in one project, 3 in another under the same queue name;"
    see_listed(env, queue, mine, "NAM-006", what, project=others[0])
    see_listed(env, queue, ids, "NAM-006", what)


@check("NAM-006")
def projects_do_not_take_from_each_other(env: Env) -> None:
    """No claim and no pop takes messages of another project's queue of the same name."""
    queue, other = env.queue(), f"{env.project}-other"
    ids = post(env, queue, 3)
    if env.declares(Capability.CLAIMS):
        claim = env.storage.claims.create(queue, limit=10, project=other)
        ensure_equal(
            (claim.id, ids_of(claim.messages)), (None, []), "NAM-006", "a claim in a project whose queue is empty"
        )
    if env.declares(Capability.POP):
        popped = ids_of(env.storage.messages.pop(queue, 10, project=other))
        ensure_equal(popped, [], "NAM-006", "a pop in a project whose queue is empty")
    see_listed(env, queue, ids, "NAM-006", "3 messages, after a claim and a pop in another project")


@check("NAM-006")
def projects_do_not_purge_each_other(env: Env) -> None:
    """Purging or deleting a queue leaves another project's queue of the same name alone."""
    queue, other = env.queue(), f"{env.project}-other"
    ids = post(env, queue, 3)
    post(env, queue, 2, project=other)
    env.storage.messages.purge(queue, project=other)
    see_listed(env, queue, ids, "NAM-006", "3 messages, after a purge in another project")
    if keeps_records(env):
        env.storage.queues.delete(queue, project=other)
        see_listed(env, queue, ids, "NAM-006", "3 messages, after another project's queue was deleted")
        ensure_equal(env.storage.queues.exists(queue), True, "NAM-006", "exists() after another project's queue went")


@check("NAM-006")
def projects_do_not_list_each_others_queues(env: Env) -> None:
    """Queues and their number are those of one project."""
    if not keeps_records(env):
        return
    queue, other = env.queue(), f"{env.project}-other"
    env.storage.queues.create(queue)
    names = [entry.name for entry in env.storage.queues.list(limit=100, project=other).items]
    ensure_equal(names, [], "NAM-006", "queues of a project in which none was created")
    ensure_equal(env.storage.queues.count(project=other), 0, "NAM-006", "queues counted in that project")
    ensure_equal(env.storage.queues.exists(queue, project=other), False, "NAM-006", "exists() in that project")


@check("NAM-007")
def foreign_message_ids_are_not_fetched(env: Env) -> None:
    """A message is not fetched through another queue, nor through another project."""
    home, ids, elsewhere = _homes(env)
    for queue, project, own in elsewhere:
        what = f"messages of {home!r} asked for in the queue {queue!r} of the project {project!r}"
        see_fetched(env, queue, [*ids, *own], own, "NAM-007", what, project=project)
        ensure_raises(
            MessageDoesNotExist,
            "NAM-007",
            f"get() of {what}",
            partial(env.storage.messages.get, queue, ids[0], project=project),
        )


@check("NAM-007")
def foreign_message_ids_are_not_deleted(env: Env) -> None:
    """Deleting a message through another queue or project succeeds and changes nothing."""
    home, ids, elsewhere = _homes(env)
    for queue, project, own in elsewhere:
        env.storage.messages.delete(queue, ids[0], project=project)
        refused = env.storage.messages.bulk_delete(queue, [*ids, own[0]], project=project)
        what = f"messages of {home!r} deleted in the queue {queue!r} of the project {project!r}"
        ensure_equal(refused, [], "NAM-007", f"{what}: refused")
        see_listed(env, queue, own[1:], "NAM-007", f"{what}, with one of its own: that queue", project=project)
        see_fetched(env, home, ids, ids, "NAM-007", f"{what}: the messages")
        see_stats(env, home, "NAM-007", f"{what}: the messages", free=len(ids))


@check("NAM-007", "NAM-008")
def foreign_message_ids_are_absent_to_claims(env: Env) -> None:
    """With a claim of its own, a queue neither deletes nor releases another queue's claimed messages."""
    home, ids, elsewhere = _homes(env)
    take(env, home, len(ids))
    for queue, project, own in elsewhere:
        claim = str(env.storage.claims.create(queue, limit=len(own), project=project).id)
        what = f"claimed messages of {home!r} by a claim of the queue {queue!r} of the project {project!r}"
        env.storage.messages.delete(queue, ids[0], claim_id=claim, project=project)
        refused = env.storage.messages.bulk_delete(queue, ids, claim_ids=[claim], project=project)
        ensure_equal(refused, [], "NAM-007", f"deleting {what}: refused")
        env.storage.messages.bulk_delete(queue, ids, project=project)
        env.storage.claims.delete(queue, claim, message_ids=ids, project=project)
        see_stats(env, home, "NAM-007", f"after deleting and releasing {what}: the messages", claimed=len(ids))
        see_stats(env, queue, "NAM-007", f"after releasing {what}: that queue's own", claimed=len(own), project=project)


@check("NAM-008")
def foreign_claim_ids_do_not_exist(env: Env) -> None:
    """A claim is neither read, renewed nor released through another queue or project."""
    home, ids, elsewhere = _homes(env)
    claim, _ = take(env, home, len(ids))
    for queue, project, own in elsewhere:
        where = f"the claim of {home!r} in the queue {queue!r} of the project {project!r}"
        calls: list[tuple[str, Callable[[], object]]] = [
            ("get", partial(env.storage.claims.get, queue, claim, project=project)),
            ("update", partial(env.storage.claims.update, queue, claim, ttl=1, project=project)),
        ]
        for method, call in calls:
            ensure_raises(ClaimDoesNotExist, "NAM-008", f"claims.{method}() of {where}", call)
        env.storage.claims.delete(queue, claim, project=project)
        env.storage.claims.delete(queue, claim, message_ids=[*ids, *own], project=project)
        see_stats(env, home, "NAM-008", f"after releasing {where}: the messages", claimed=len(ids))
        ttl = env.storage.claims.get(home, claim).ttl
        ensure_equal(ttl, LONG, "NAM-008", f"ttl of the claim after renewing {where}")


@check("NAM-008")
def foreign_claim_ids_delete_nothing(env: Env) -> None:
    """A claim of another queue or project, named when a message is deleted, is one that does not exist."""
    home, ids, elsewhere = _homes(env)
    claim, _ = take(env, home, len(ids))
    for queue, project, own in elsewhere:
        what = f"deleting a message of the queue {queue!r} of the project {project!r} with a claim of {home!r}"
        ensure_raises(
            ClaimDoesNotExist,
            "NAM-008",
            what,
            partial(env.storage.messages.delete, queue, own[0], claim_id=claim, project=project),
        )
        refused = env.storage.messages.bulk_delete(queue, own, claim_ids=[claim], project=project)
        ensure_equal(refused, own, "NAM-008", f"{what}, all at once: refused")
        see_listed(env, queue, own, "NAM-008", f"after {what}: that queue", project=project)


@check("NAM-009")
def unknown_message_ids_are_absent(env: Env) -> None:
    """Any string at all as a message id is one that does not exist: it is not fetched, and its deletion succeeds."""
    queue = env.queue()
    ids = post(env, queue, 3)
    see_listed(env, queue, ids, "MSG-001", "3 messages")
    strange = _strange_ids(ids)
    for one in strange:
        found = env.storage.messages.bulk_get(queue, [one])
        ensure_equal(found, [], "NAM-009", f"bulk_get([{one[:100]!r}])")
        env.storage.messages.delete(queue, one)
    see_fetched(env, queue, [*strange, *ids, *strange], ids, "NAM-009", "3 ids among strange ones")
    for some in in_calls(env, strange):
        refused = env.storage.messages.bulk_delete(queue, some)
        ensure_equal(refused, [], "NAM-009", "bulk_delete of strange ids: refused")
    see_listed(env, queue, ids, "NAM-009", "3 messages, after deletions of strange ids")


@check("NAM-008", "NAM-009")
def unknown_claim_ids_do_not_exist(env: Env) -> None:
    """Any string at all as a claim id is one that does not exist, on every method."""
    queue = env.queue()
    ids = post(env, queue, 4)
    claim, _ = take(env, queue, 2)
    for one in _strange_ids([claim, *ids[:1]]):
        name = repr(one[:100])
        calls: list[tuple[str, Callable[[], object]]] = [
            ("claims.get", partial(env.storage.claims.get, queue, one)),
            ("claims.update", partial(env.storage.claims.update, queue, one, ttl=1)),
            ("messages.delete", partial(env.storage.messages.delete, queue, ids[0], claim_id=one)),
            ("messages.delete, unclaimed,", partial(env.storage.messages.delete, queue, ids[3], claim_id=one)),
        ]
        for method, call in calls:
            ensure_raises(ClaimDoesNotExist, "NAM-009", f"{method} with the claim id {name}", call)
        env.storage.claims.delete(queue, one)
        env.storage.claims.delete(queue, one, message_ids=ids)
        refused = env.storage.messages.bulk_delete(queue, ids, claim_ids=[one])
        ensure_equal(refused, ids, "NAM-009", f"bulk_delete with the claim id {name}: refused")
    for some in in_calls(env, _strange_ids(ids)):
        env.storage.claims.delete(queue, claim, message_ids=some)
    see_stats(env, queue, "NAM-009", "2 of 4 messages claimed, after calls with strange claim ids", free=2, claimed=2)


def _joined(root: str, separator: str) -> list[tuple[str, str]]:
    """Pairs of project and queue, all different, that a driver which joins the two by ``separator`` confuses."""
    return [
        (f"{root}{separator}b", "c"),
        (root, f"b{separator}c"),
        (f"{root}{separator}", "b"),
        (root, f"{separator}b"),
        (f"{root}{separator}b{separator}", "c"),
        (f"{root}{separator}b", f"{separator}c"),
        ("", f"{root}{separator}b{separator}c"),
        ("", f"{root}{separator}b"),
        (f"{root}\\{separator}b", "c"),
        (f"{root}\\", f"b{separator}c"),
    ]


_INTERNAL = [
    *("messages", "claims", "queues", "records", "message", "claim", "queue", "subscriptions", "pools", "flavors"),
    *("catalogue", "schema", "schema_version", "meta", "metadata", "migrations", "version", "config", "index"),
    *("default", "sqlite_master", "sqlite_schema", "sqlite_sequence", "sqlite_stat1", "queues.db", "queues.db-wal"),
    *("rowid", "_rowid_", "queues_set", "q.messages", "q:messages", "queue:messages", "message_ids", "zaqar"),
    *("marconi", "admin", "local", "rethinkdb", "_debug_table_status", "_indexes", "information_schema"),
    *("pg_class", "system.indexes", "_id", "id", ".lock", ".tmp", "lock", "gc", "epoch", "counter", "seq", "clock"),
    *("nonce", "dedup", "expiry", "leases", "bodies"),
]
_PARTS = [
    *("messages", "claims", "stats", "count", "counts", "bodies", "body", "order", "leased", "leases", "expiry"),
    *("dedup", "epoch", "counter", "meta", "metadata", "id", "ids", "m", "c", "q", "1"),
]


def _homes(env: Env) -> tuple[str, list[str], Sequence[tuple[str, str, list[str]]]]:
    """A queue with 3 messages, and others with 2 each: its neighbour, and its namesakes in two other projects."""
    home = env.queue("home")
    ids = post(env, home, 3)
    elsewhere = []
    for queue, project in (
        (env.queue("neighbour"), env.project),
        (home, f"{env.project}-other"),
        (env.queue("far"), f"{env.project}-other"),
    ):
        own = post(env, queue, 2, project=project)
        see_listed(env, queue, own, "MSG-001", "2 messages", project=project)
        elsewhere.append((queue, project, own))
    see_listed(env, home, ids, "MSG-001", "3 messages")
    return home, ids, elsewhere


def _strange_ids(ids: Sequence[str]) -> list[str]:
    """Strings that are no ids: of every nasty kind, and near misses of real ids."""
    strange = [
        *("", " ", "a", "0", "-1", "1-1", "0-0", "None", "null", ".", "..", "../x", "/", "a/b", "%", "_", "*", "?"),
        *("[a-z]*", "'", '"', "' OR '1'='1", "\\", "\0", "a\0b", "\ud800", "\udfff", "\uffff", "日本", "🙂", "\n"),
        *("a" * 10_000, "9" * 400, "1" * 24, "0" * 32, new_id(), new_id()[:8]),
        *("00000000-0000-0000-0000-000000000000", "\u0661", "1e5", "0x1f", "NaN"),
    ]
    for one in ids:
        other = "A" if one[-1] != "A" else "B"
        front = "A" if one[0] != "A" else "B"
        near = [
            *(one.swapcase(), one.lower(), one.upper(), one[:-1], one[1:], one + "A", "A" + one, one + one),
            *(f" {one}", f"{one} ", f"{one}\n", f"{one}\0", one[:-1] + other, front + one[1:], one[::-1]),
            *(f"0{one}", f"+{one}", one[: len(one) // 2] + "%", one[: len(one) // 2] + "*", "_" * len(one)),
            unicodedata.normalize("NFD", f"{one}é"),
        ]
        strange += [text for text in near if text not in ids]
    return list(dict.fromkeys(strange))
