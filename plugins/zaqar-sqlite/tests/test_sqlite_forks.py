"""A fork in the middle of a call, as a signal handler makes it that returns in both processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import zaqar_core
from zaqar_conformance.forks import fork_at
from zaqar_core import NewMessage
from zaqar_core.errors import StorageUnavailable

Ensure = Callable[[Path], None]

STRANDED = "this process was forked while a call was using 'queues.db', so SQLite cannot use that file here any more"


def test_only_the_parent_completes_the_call(tmp_path: Path, ensure_whole: Ensure) -> None:
    """The child commits nothing, and says what is the matter; or, where SQLite was not in use yet, works."""
    path = tmp_path / "queues.db"
    uri = f"sqlite:///{path}"
    with zaqar_core.connect(uri, synchronous="OFF", metadata_ttl=60) as storage:
        queue = storage.queue("q")
        queue.post("first")

        messages = [NewMessage("x")]

        def post() -> str:
            return storage.messages.post("q", messages)[0]

        def then(outcome: object) -> str:
            said = ["raised" if isinstance(outcome, StorageUnavailable) else str(outcome)]
            for call in (queue.stats, lambda: zaqar_core.connect(uri).queue("q").stats()):
                try:
                    said.append(str(call().total))
                except StorageUnavailable as error:
                    said.append(str(error).partition(";")[0])
            return "\n".join(said)

        at, stranded, completed = 1, 0, 0
        while forked := fork_at(post, at, then):
            assert forked.code == 0, forked.said
            outcome, *later = forked.said.split("\n")
            assert later == [STRANDED] * 2 or all(each.isdigit() for each in later), (at, forked.said)
            stranded += later == [STRANDED] * 2
            stored = {forked.outcome}
            if outcome != "raised":  # forked before it had begun, or after it was over
                completed += 1
                stored.add(outcome)
            assert {each.id for each in queue.list(limit=9).items[1:]} == stored, (at, forked.said)
            storage.messages.bulk_delete("q", [str(each) for each in stored])
            at += 31
        assert stranded > 5
        assert completed < 5
    ensure_whole(path)
