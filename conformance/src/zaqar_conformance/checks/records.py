"""The methods of ``RecordStore``, as the core calls them, and what the core makes of records that it did not write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from zaqar_conformance.check import check, ensure, ensure_equal, ensure_raises
from zaqar_conformance.checks._support import elapse, paced
from zaqar_conformance.env import Env
from zaqar_core import NewMessage
from zaqar_core.contract import Record, RecordStore, Space, new_id
from zaqar_core.errors import IncompatibleStorage

_TTL = 0.4
"""Of a record that is to expire, in seconds."""

_KEYS = (" ", "%", "*", "A", "B", "[a]", "\\", "_", "a", "a!", "a%", "a%b", "aXb", "a_b", "aa", "aab", "ab", "b",
         "~", "\x7f", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0001f600")  # fmt: skip
"""In code-point order; neither that of UTF-16 nor of a language, with all the wildcards that datastores know."""


@check("REC-001")
def record_insert_and_get(env: Env) -> None:
    """``insert`` returns a version; ``get`` returns key, value, version and nonce as written, None if it is absent."""
    records, space = _open(env)
    ensure_equal(records.get(space, "k"), None, "REC-001", "get of a record that was never written")
    version = records.insert(space, "k", b"value", nonce="nonce")
    ensure(
        isinstance(version, str) and version, "REC-001", f"insert of a new record: expected a version, got {version!r}"
    )
    _see(env, space, "k", Record("k", b"value", str(version), "nonce"), "REC-001", "after insert")
    ensure_equal(records.get(space, "K"), None, "REC-001", "get of a key that differs in case")


@check("REC-001", waits=True)
def record_insert_of_a_present_key_stores_nothing(env: Env) -> None:
    """``insert`` where a record is returns None and leaves value, version, nonce and life as they were."""
    records, space = _open(env)
    before = _insert(env, records, space, "k", b"first")
    for ttl in (None, _TTL):
        again = records.insert(space, "k", b"second", nonce="other", ttl=ttl)
        ensure_equal(again, None, "REC-001", f"insert, with ttl {ttl}, of a key that is present")
        ensure_equal(records.get(space, "k"), before, "REC-001", "the record after an insert that returned None")
    elapse(env, _TTL)
    ensure_equal(records.get(space, "k"), before, "REC-001", "the record, once the refused insert's ttl has passed")


@check("REC-002")
def record_replace(env: Env) -> None:
    """``replace`` with the current version stores value and nonce and returns a new version."""
    records, space = _open(env)
    current = _insert(env, records, space, "k", b"0", "REC-002")
    for number in range(1, 4):
        value, nonce = b"%d" % number, f"nonce-{number}"
        version = records.replace(space, "k", value, version=current.version, nonce=nonce)
        ensure(
            isinstance(version, str) and version and version != current.version,
            "REC-002",
            f"replace with the current version {current.version!r}: expected a new version, got {version!r}",
        )
        current = Record("k", value, str(version), nonce)
        _see(env, space, "k", current, "REC-002", "after replace")


@check("REC-002")
def record_replace_of_another_version_stores_nothing(env: Env) -> None:
    """``replace`` with a version that is old, made up, another key's or empty returns None and stores nothing."""
    records, space = _open(env)
    old = _insert(env, records, space, "k", b"0", "REC-002").version
    version = str(records.replace(space, "k", b"1", version=old, nonce="1"))
    current = Record("k", b"1", version, "1")
    _see(env, space, "k", current, "REC-002", "after replace")
    other = _insert(env, records, space, "other", b"other", "REC-002")
    for wrong in (old, other.version, new_id(), "", f"{version} ", f"{version}0", "0", "1", "*"):
        if wrong == version:
            continue
        seen = records.replace(space, "k", b"2", version=wrong, nonce="2")
        ensure_equal(seen, None, "REC-002", f"replace with the version {wrong!r} where {version!r} is current")
        ensure_equal(
            records.get(space, "k"), current, "REC-002", f"the record after replace with the version {wrong!r}"
        )
    _see(env, space, "other", other, "REC-002", "of the other key")


@check("REC-002")
def record_replace_of_an_absent_key_stores_nothing(env: Env) -> None:
    """``replace`` where no record is, or not any more, returns None and makes none."""
    records, space = _open(env)
    gone = _insert(env, records, space, "gone", b"0", "REC-002")
    records.delete(space, "gone")
    for key, version in (("never", new_id()), ("never", gone.version), ("gone", gone.version)):
        seen = records.replace(space, key, b"1", version=version, nonce="1")
        ensure_equal(seen, None, "REC-002", f"replace of the absent key {key!r}")
        _see(env, space, key, None, "REC-002", "after replace of an absent key")


@check("REC-003")
def record_delete(env: Env) -> None:
    """``delete`` with the current version, or with none, deletes that record alone and says True; then False."""
    records, space = _open(env)
    neighbour = _insert(env, records, space, "k2", b"kept", "REC-003")
    for named in (True, False):
        current = _insert(env, records, space, "k", b"value", "REC-003")
        version = current.version if named else None
        what = f"delete with {'the current' if named else 'no'} version"
        ensure_equal(records.delete(space, "k", version=version), True, "REC-003", what)
        _see(env, space, "k", None, "REC-003", f"after {what}")
        ensure_equal(
            records.delete(space, "k", version=version), False, "REC-003", f"{what}, of a record already deleted"
        )
    ensure_equal(records.delete(space, "never"), False, "REC-003", "delete of a record that was never there")
    _see(env, space, "k2", neighbour, "REC-003", "of the other key")


@check("REC-003")
def record_delete_of_another_version_deletes_nothing(env: Env) -> None:
    """``delete`` with a version that is not the current one says False and deletes nothing."""
    records, space = _open(env)
    old = _insert(env, records, space, "k", b"0", "REC-003").version
    version = str(records.replace(space, "k", b"1", version=old, nonce="1"))
    current = Record("k", b"1", version, "1")
    _see(env, space, "k", current, "REC-003", "after replace")
    for wrong in (old, new_id(), "", f"{version} "):
        seen = records.delete(space, "k", version=wrong)
        ensure_equal(seen, False, "REC-003", f"delete with the version {wrong!r} where {version!r} is current")
        ensure_equal(records.get(space, "k"), current, "REC-003", f"the record after delete with the version {wrong!r}")


@check("REC-004")
def record_versions_never_repeat(env: Env) -> None:
    """No version of a key comes twice: through replacing, deleting and inserting again, with the same value too."""
    records, space = _open(env)
    seen: list[str] = []
    for _ in range(4):
        version = _insert(env, records, space, "k", b"same", "REC-004").version
        seen.append(version)
        for _ in range(3):
            version = str(records.replace(space, "k", b"same", version=version, nonce="same"))
            seen.append(version)
        ensure_equal(records.delete(space, "k", version=version), True, "REC-004", "delete with the current version")
        _see(env, space, "k", None, "REC-004", "after delete")
    repeated = sorted({version for version in seen if seen.count(version) > 1})
    ensure(not repeated, "REC-004", f"versions that one key had twice: {repeated}, of {seen}")
    for old in seen:
        _insert(env, records, space, "k", b"new", "REC-004")
        ensure_equal(records.delete(space, "k", version=old), False, "REC-004", "delete with a version from before")
        records.delete(space, "k")
        _see(env, space, "k", None, "REC-004", "after delete")


@check("REC-004")
def record_versions_never_repeat_after_expiry(env: Env) -> None:
    """No version of a key comes twice when its record expired in between."""
    records, space = _open(env)
    first = str(records.insert(space, "k", b"value", nonce="n", ttl=0.05))
    _until_absent(env, space, "k", "REC-004")
    second = str(records.insert(space, "k", b"value", nonce="n"))
    ensure(first != second, "REC-004", f"the version before and after expiry is the same: {first!r}")


@check("REC-005")
def record_scan_order(env: Env) -> None:
    """``scan`` gives whole records in code-point order of their keys, as they were written."""
    records, space = _open(env)
    expected = _fill(env, records, space, _KEYS)
    found = _see_scan(env, space, list(_KEYS), "in code-point order")
    ensure_equal(found, [expected[key] for key in _KEYS], "REC-005", "the records that scan gives, as written")


@check("REC-005")
def record_scan_after(env: Env) -> None:
    """``after`` begins behind that key, whether or not there is a record of it."""
    records, space = _open(env)
    _fill(env, records, space, _KEYS)
    _see_scan(env, space, list(_KEYS), "before looking behind keys")
    for after in (*_KEYS, "", "a ", "aaa", "\x01", "zz", "\uff00", "\U0010ffff"):
        expected = [key for key in _KEYS if key > after]
        found = [record.key for record in records.scan(space, after=after, limit=100)]
        ensure_equal(found, expected, "REC-005", f"scan after {after!r}")


@check("REC-005")
def record_scan_prefix(env: Env) -> None:
    """``prefix`` is plain text for ``scan`` and ``count``: no wildcard, no folding, nothing trimmed."""
    records, space = _open(env)
    _fill(env, records, space, _KEYS)
    _see_scan(env, space, list(_KEYS), "before looking for prefixes")
    for prefix in (
        "",
        " ",
        "%",
        "*",
        "?",
        "[",
        "\\",
        "_",
        "a",
        "A",
        "a_",
        "a%",
        "aa",
        "aX",
        "é",
        "e",
        "\uffff",
        "\U0001f600",
    ):
        expected = [key for key in _KEYS if key.startswith(prefix)]
        found = [record.key for record in records.scan(space, prefix=prefix, limit=100)]
        ensure_equal(found, expected, "REC-005", f"scan with the prefix {prefix!r}")
        ensure_equal(records.count(space, prefix=prefix), len(expected), "REC-005", f"count with the prefix {prefix!r}")
        for after in ("", "a", "a_", "zz"):
            expected_after = [key for key in expected if key > after]
            found = [record.key for record in records.scan(space, prefix=prefix, after=after, limit=100)]
            ensure_equal(found, expected_after, "REC-005", f"scan with the prefix {prefix!r} after {after!r}")


@check("REC-005")
def record_scan_limit(env: Env) -> None:
    """``scan`` gives at most ``limit`` records, and fewer only if there are no more, however many there are."""
    records, space = _open(env)
    keys = [f"{kind}{number:03}" for kind in "ab" for number in range(150)]
    _fill(env, records, space, keys)
    _see_scan(env, space, keys, "of 300 records")
    ensure_equal(records.count(space), 300, "REC-005", "count of 300 records")
    for limit in (1, 2, 99, 149, 150, 151, 299, 300, 301, 1001):
        for prefix in ("", "b"):
            expected = [key for key in keys if key.startswith(prefix)][:limit]
            found = [record.key for record in records.scan(space, prefix=prefix, limit=limit)]
            ensure_equal(
                found, expected, "REC-005", f"scan of 300 records with the limit {limit} and the prefix {prefix!r}"
            )


@check("REC-005")
def record_scan_sees_through_gaps(env: Env) -> None:
    """Deleted records leave no gap: a scan among hundreds of them is full, and ``count`` agrees."""
    records, space = _open(env)
    keys = [f"{number:03}" for number in range(200)]
    _fill(env, records, space, keys)
    for key in keys[:180]:
        records.delete(space, key)
    _see_scan(env, space, keys[180:], "after the first 180 of 200 were deleted")
    found = [record.key for record in records.scan(space, limit=15)]
    ensure_equal(found, keys[180:195], "REC-005", "scan with the limit 15, after the first 180 of 200 were deleted")
    ensure_equal(records.count(space), 20, "REC-005", "count after 180 of 200 were deleted")


@check("REC-006", waits=True)
def record_lives_for_its_ttl(env: Env) -> None:
    """A record with a ttl is there until it is over; one of a long ttl, or none, stays."""
    records, space = _open(env)
    for key, ttl in (("long", 3600.0), ("none", None)):
        records.insert(space, key, b"kept", nonce=key, ttl=ttl)
    began = time.monotonic()
    version = str(records.insert(space, "k", b"short", nonce="n", ttl=_TTL))

    def read() -> tuple[Record | None, bool]:
        found = records.get(space, "k")
        return found, time.monotonic() - began < _TTL  # asked late enough to be on the safe side

    seen, in_time = read()
    if in_time:
        ensure_equal(seen, Record("k", b"short", version, "n"), "REC-006", f"a record within its ttl of {_TTL} s")
    _until_absent(env, space, "k", "REC-006")
    ensure(
        time.monotonic() - began >= _TTL - 0.001, "REC-006", f"a record was absent before its ttl of {_TTL} s was over"
    )
    left = [record.key for record in records.scan(space, limit=10)]
    ensure_equal(left, ["long", "none"], "REC-006", "keys left: one of a long ttl, one of none")


@check("REC-006", waits=True)
def record_expired_is_absent_to_every_method(env: Env) -> None:
    """An expired record is absent to get, replace, delete, scan and count, and does not shorten a page of ``scan``."""
    records, space = _open(env)
    keys = [f"{number:02}" for number in range(20)]
    versions = {key: str(records.insert(space, key, b"short", nonce="n", ttl=_TTL)) for key in keys}
    lasting = [f"{key}-lasts" for key in keys]
    for key in lasting:
        records.insert(space, key, b"kept", nonce="n")
    for key in (keys[-1], keys[0]):
        _until_absent(env, space, key, "REC-006")
    _see_scan(env, space, lasting, "after half of the records expired", "REC-006")
    ensure_equal(
        len(records.scan(space, limit=7)), 7, "REC-006", "records in a scan with the limit 7, expired ones between"
    )
    ensure_equal(records.count(space), len(lasting), "REC-006", "count with as many expired records between")
    key = keys[3]
    replaced = records.replace(space, key, b"2", version=versions[key], nonce="2")
    ensure_equal(replaced, None, "REC-006", "replace of an expired record with its version")
    ensure_equal(
        records.delete(space, key, version=versions[key]), False, "REC-006", "delete of an expired record, by version"
    )
    ensure_equal(records.delete(space, keys[4]), False, "REC-006", "delete of an expired record")
    ensure_equal(records.get(space, key), None, "REC-006", "get of an expired record after replace and delete")


@check("REC-006", waits=True)
def record_insert_over_an_expired_one(env: Env) -> None:
    """``insert`` over an expired record succeeds, and the new one has the ttl of its own insert."""
    records, space = _open(env)
    for key, ttl in (("stays", None), ("long", 3600.0), ("short", 0.2)):
        records.insert(space, key, b"old", nonce="old", ttl=0.05)
        _until_absent(env, space, key, "REC-006")
        version = records.insert(space, key, b"new", nonce="new", ttl=ttl)
        ensure(version is not None, "REC-006", f"insert over an expired record returned None (new ttl {ttl})")
        if key != "short":
            _see(
                env, space, key, Record(key, b"new", str(version), "new"), "REC-006", "after insert over an expired one"
            )
    _until_absent(env, space, "short", "REC-006")
    left = [record.key for record in records.scan(space, limit=10)]
    ensure_equal(left, ["long", "stays"], "REC-006", "keys left, once the ttl of the old and of one new record is over")


@check("REC-006", waits=True)
def record_replace_keeps_the_ttl(env: Env) -> None:
    """``replace`` neither ends nor renews a ttl: the record expires when it would have."""
    records, space = _open(env)

    def scenario(unit: float) -> bool:
        ttl, key = 3 * unit, f"k{unit}"
        began = time.monotonic()
        version = records.insert(space, key, b"0", nonce="0", ttl=ttl)
        replaced = 0

        def replace_again() -> bool:
            nonlocal version, replaced
            if version is not None:
                version = records.replace(space, key, b"again", version=version, nonce="again")
                replaced += version is not None
            return version is None

        env.wait_for(
            replace_again,
            bool,
            "REC-006",
            f"a record with a ttl of {ttl} s, replaced again and again, did not expire; replace refused",
            within=ttl + 2,
        )
        took = time.monotonic() - began
        ensure(
            took >= ttl - 0.001, "REC-006", f"replace found the record absent after {took:.3f} s of its ttl of {ttl} s"
        )
        if replaced == 0:
            return False
        ensure_equal(records.get(space, key), None, "REC-006", "get of a replaced record whose ttl is over")
        return True

    paced(scenario)
    forever = str(records.insert(space, "forever", b"0", nonce="0"))
    ensure(
        records.replace(space, "forever", b"1", version=forever, nonce="1") is not None
        and records.get(space, "forever"),
        "REC-006",
        "a record without ttl was absent after replace",
    )


@check("REC-007")
def record_spaces_are_apart(env: Env) -> None:
    """Records of one key in spaces of other kinds and projects are each their own, to every method."""
    records, _ = _open(env)
    spaces = [
        env.space("queues"),
        env.space("pools"),
        env.space("queue"),
        env.space("queues", f"{env.project}2"),
        env.space("queues", f"{env.project}é"),
        env.space("queues", env.project.swapcase()),
    ]
    written = {space: _insert(env, records, space, "k", f"{space}".encode(), "REC-007") for space in spaces}
    for space in spaces:
        _see(env, space, "k", written[space], "REC-007", f"of {space}")
        ensure_equal([*records.scan(space, limit=10)], [written[space]], "REC-007", f"scan of {space}")
        ensure_equal(records.count(space), 1, "REC-007", f"count of {space}")
    first, *others = spaces
    foreign = written[others[0]].version
    if foreign != written[first].version:
        replaced = records.replace(first, "k", b"changed", version=foreign, nonce="n")
        ensure_equal(replaced, None, "REC-007", "replace with the version of another space's record")
    ensure_equal(records.delete(first, "k"), True, "REC-007", f"delete in {first}")
    _see(env, first, "k", None, "REC-007", f"of {first}, after delete")
    for space in others:
        _see(env, space, "k", written[space], "REC-007", f"of {space}, after a deletion in {first}")


@check("REC-007")
def record_spaces_are_apart_whatever_joins_them(env: Env) -> None:
    """Kind, project and key that give the same text when joined by any separator are different records."""
    records, _ = _open(env)
    base, written = env.project, dict[tuple[Space, str], Record]()
    for separator in (".", ":", "/", "-", "_", "|", " ", ",", "\x01", "\x1f", "", "%2F", "::", "\\"):
        for kind, project, key in (
            ("queues", base, f"b{separator}c"),
            ("queues", f"{base}{separator}b", "c"),
            ("queues", f"{base}{separator}b{separator}", "c"),
            ("queues", f"{base}{separator}b", f"{separator}c"),
            ("queue", f"s{separator}{base}", f"b{separator}c"),
            ("queue", f"s{separator}{base}{separator}b", "c"),
        ):
            space = env.space(kind, project)
            if (space, key) not in written:
                written[space, key] = _insert(
                    env, records, space, key, f"{kind!r} {project!r} {key!r}".encode(), "REC-007"
                )
    for (space, key), record in written.items():
        _see(env, space, key, record, "REC-007", f"of {key!r} in {space}")
    for space in {space for space, _ in written}:
        expected = sorted(key for owner, key in written if owner == space)
        found = [record.key for record in records.scan(space, limit=100)]
        ensure_equal(found, expected, "REC-007", f"keys that scan gives in {space}")
        ensure_equal(records.count(space), len(expected), "REC-007", f"count in {space}")


@check("REC-007")
def record_space_of_no_project(env: Env) -> None:
    """The records of no project are apart from those of any project."""
    records, space = _open(env)
    key, nowhere = f"conformance-{new_id()}", Space("pools", "")
    try:
        _insert(env, records, nowhere, key, b"of no project", "REC-007")
        ensure_equal(records.get(env.space("pools"), key), None, "REC-007", "get in a project of a record of none")
        ensure_equal(records.get(Space("queues", ""), key), None, "REC-007", "get of a pool's record among the queues")
        _insert(env, records, space, key, b"of a project", "REC-007")
        env.see(
            lambda: [record.value for record in records.scan(nowhere, prefix=key, limit=10)],
            lambda seen: seen == [b"of no project"],
            "REC-007",
            "values that scan gives of the records of no project, expected [b'of no project']",
        )
    finally:
        records.delete(nowhere, key)


@check("REC-009")
def record_values_are_kept(env: Env) -> None:
    """Values are bytes and come back as they are: empty, NUL, no UTF-8, every byte there is; from get and from scan."""
    records, space = _open(env)
    values = {
        "all": bytes(range(256)),
        "empty": b"",
        "line": b"\r\n",
        "looks like a number": b"007",
        "looks like null": b"null",
        "no utf-8": b"\xff\xfe\xc3",
        "nul": b"\0",
        "nul inside": b"a\0b\0",
    }
    for key, value in values.items():
        _insert(env, records, space, key, value, "REC-009")
    found = {record.key: record.value for record in records.scan(space, limit=100)}
    ensure_equal(found, values, "REC-009", "the values that scan gives after insert")
    for key, value in values.items():
        version = _insert(env, records, space, f"{key} again", b"", "REC-009").version
        records.replace(space, f"{key} again", value, version=version, nonce="n")
        _see_value(env, space, f"{key} again", value, f"replaced by {value!r}")


@check("REC-009")
def record_values_of_256_kib(env: Env) -> None:
    """A value of 256 KiB is stored by ``insert`` and by ``replace`` and comes back."""
    records, space = _open(env)
    large, other = env.rng.randbytes(256 * 1024), env.rng.randbytes(256 * 1024)
    version = _insert(env, records, space, "k", large, "REC-009").version
    _see_value(env, space, "k", large, "after insert of 256 KiB")
    records.replace(space, "k", other, version=version, nonce="n")
    _see_value(env, space, "k", other, "after replace by 256 KiB")


@check("REC-009")
def record_names_and_nonces_are_kept(env: Env) -> None:
    """Keys of 192 bytes in any text and nonces come back as they are."""
    records, space = _open(env)
    for key in ("x" * 64, "\U0001f600" * 48, "é\u0301 \t\n'\"\\%;--", "\x01", "../..", "\uffff"):
        nonce = new_id()
        version = str(records.insert(space, key, b"v", nonce=nonce))
        _see(env, space, key, Record(key, b"v", version, nonce), "REC-009", f"of the key {key!r}")


@check("REC-010")
def record_delete_all_takes_a_prefix(env: Env) -> None:
    """``delete_all`` takes the records of that prefix, as plain text, and leaves others, and those of other spaces."""
    records = _records(env)
    for number, prefix in enumerate(("a_", "%", "é", "")):
        space, other = env.space("subscriptions", f"{env.project}-{number}"), env.space("pools", env.project)
        _fill(env, records, space, _KEYS)
        if number == 0:
            _fill(env, records, other, _KEYS)
        _see_scan(env, space, list(_KEYS), "before delete_all", "REC-010")
        expected = [key for key in _KEYS if key.startswith(prefix)]
        deleted = records.delete_all(space, prefix=prefix)
        ensure_equal(deleted, len(expected), "REC-010", f"what delete_all with the prefix {prefix!r} returned")
        left = [key for key in _KEYS if key not in expected]
        _see_scan(env, space, left, f"after delete_all with the prefix {prefix!r}", "REC-010")
        again = records.delete_all(space, prefix=prefix)
        ensure_equal(again, 0, "REC-010", f"what delete_all with the prefix {prefix!r} returned the second time")
    _see_scan(env, other, list(_KEYS), "in another space, after delete_all", "REC-010")


@check("REC-010", thorough=True)
def record_delete_all_takes_thousands(env: Env) -> None:
    """``delete_all`` of more records than one page of ``scan`` has takes all of them."""
    records, space = _open(env)
    keys = [f"k{number:04}" for number in range(1_100)]
    for key in keys:
        records.insert(space, key, b"v", nonce="n")
    _insert(env, records, space, "other", b"v", "REC-010")
    _see_scan(env, space, [*keys, "other"], "before delete_all", "REC-010")
    ensure_equal(records.delete_all(space, prefix="k"), len(keys), "REC-010", "what delete_all returned")
    _see_scan(env, space, ["other"], "after delete_all of 1100 records", "REC-010")


@check("REC-011")
def record_of_a_newer_version_keeps_its_fields(env: Env) -> None:
    """Pools, flavors, entries and subscriptions are changed by the core, and fields that it does not know stay."""
    storage, records = env.storage, _records(env)
    data = storage.driver.records
    ensure(data is not None, "REC-011", "the data plane has no records")
    assert data is not None
    pool, other, flavor, queue = (f"{env.project[-20:]}-{name}" for name in ("pool", "other", "flavor", "queue"))
    uri = f"memory://{env.project[-20:]}"
    storage.pools.create(pool, uri=uri)
    storage.pools.create(other, uri=uri)
    storage.flavors.create(flavor)
    storage.catalogue.insert(queue, pool)
    storage.subscriptions.create(queue, subscriber="https://example.org")
    spaces = [
        (records, Space("pools", "")),
        (records, Space("flavors", "")),
        (records, Space("catalogue", env.project)),
        (data, Space("subscriptions", env.project)),
    ]
    for store, space in spaces:
        for record in store.scan(space, prefix=env.project[-20:] if not space.project else "", limit=10):
            value = {**json.loads(record.value), "newer": [space.kind]}
            store.replace(space, record.key, json.dumps(value).encode(), version=record.version, nonce="n")
    storage.pools.update(pool, weight=5)
    storage.flavors.update(flavor, pools=[pool, other])
    storage.catalogue.update(queue, other)
    subscription = storage.subscriptions.get_with_subscriber(queue, "https://example.org").id
    storage.subscriptions.confirm(queue, subscription)
    ensure_equal(storage.pools.get(pool).weight, 5, "REC-011", "the weight of a pool with a field of a newer version")
    for store, space in spaces:
        for record in store.scan(space, prefix=env.project[-20:] if not space.project else "", limit=10):
            kept = json.loads(record.value).get("newer")
            ensure_equal(kept, [space.kind], "REC-011", f"a field of a newer version of {record.key!r} in {space}")
    storage.catalogue.delete(queue)
    storage.flavors.delete(flavor)
    for name in (pool, other):
        storage.pools.delete(name)


_DAMAGED = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"NaN",
    b'"text"',
    b"7",
    b"\xff",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"newer":1e999}',
)
"""Values of records that are not JSON objects."""


@check("REC-011")
def record_that_is_damaged_is_named(env: Env) -> None:
    """A record of any kind that is not a JSON object, or has fields of other types, is named and left unchanged."""
    storage, records = env.storage, _records(env)
    queue, name = env.queue(), f"{env.project[-20:]}-x"
    storage.subscriptions.create(queue, subscriber="https://example.org")
    data = storage.driver.records
    assert data is not None
    [subscription] = data.scan(Space("subscriptions", env.project), limit=10)
    digest = storage.subscriptions.list(queue).items[0].id
    cases: list[tuple[RecordStore, Space, str, list[Callable[[], object]], bytes]] = [
        (
            records,
            Space("queues", env.project),
            name,
            [
                lambda: storage.queues.get_metadata(name),
                lambda: storage.queues.list(detailed=True),
                lambda: storage.queues.update_metadata(name, {"a": 1}),
                lambda: storage.messages.post(name, [NewMessage(1)]),
                lambda: storage.claims.create(name),
            ],
            b"",
        ),
        (
            records,
            Space("pools", ""),
            name,
            [lambda: storage.pools.get(name), lambda: storage.pools.list(marker=name[:-1])],
            b'{"weight":1}',
        ),
        (
            records,
            Space("flavors", ""),
            name,
            [
                lambda: storage.flavors.get(name),
                lambda: storage.flavors.list(marker=name[:-1]),
                lambda: storage.flavors.delete(name),
            ],
            b'{"deleting":null}',
        ),
        (
            records,
            Space("catalogue", env.project),
            name,
            [lambda: storage.catalogue.get(name), storage.catalogue.list],
            b'{"pool":["x"],"next":""}',
        ),
        (
            data,
            Space("subscriptions", env.project),
            subscription.key,
            [lambda: storage.subscriptions.get(queue, digest), lambda: storage.subscriptions.list(queue)],
            b'{"id":1}',
        ),
    ]
    for store, space, key, calls, wrong in cases:
        store.delete(space, key)
        for value in (*_DAMAGED, *filter(None, [wrong])):
            store.insert(space, key, value, nonce="n")
            try:
                for call in calls:
                    what = f"a call on the record {key!r} in {space} with the value {value[:40]!r}"
                    said = str(ensure_raises(IncompatibleStorage, "REC-011", what, call))
                    ensure(key in said and space.kind in said, "REC-011", f"{what}: the error does not name it: {said}")
                found = store.get(space, key)
                ensure(found is not None and found.value == value, "REC-011", f"{space} {key!r} was not left as it is")
            finally:
                store.delete(space, key)


@check("REC-011")
def record_that_is_damaged_spoils_no_listing(env: Env) -> None:
    """A listing shows what comes before a damaged record; its key as the marker shows what comes after it."""
    storage, records = env.storage, _records(env)
    for name in ("a", "c"):
        storage.queues.create(name, {"name": name})
    records.insert(Space("queues", env.project), "b", b"[]", nonce="n")
    ensure_equal(_listed(env), ["a", "b", "c"], "REC-011", "names listed, of which one has damaged metadata")
    page = storage.queues.list(detailed=True)
    seen = [entry.name for entry in page.items], page.more
    ensure_equal(seen, (["a"], True), "REC-011", "the names of a detailed page that meets a damaged record, and more")
    what = "the detailed page that begins with a damaged record"
    ensure_raises(IncompatibleStorage, "REC-011", what, lambda: storage.queues.list(detailed=True, marker=page.marker))
    rest = [entry.name for entry in storage.queues.list(detailed=True, marker="b").items]
    ensure_equal(rest, ["c"], "REC-011", "names listed after the damaged record")
    storage.queues.set_metadata("b", {"repaired": True})
    seen_all = [entry.name for entry in storage.queues.list(detailed=True).items]
    ensure_equal(seen_all, ["a", "b", "c"], "REC-011", "names listed after set_metadata repaired it")


def _listed(env: Env) -> list[str]:
    return [entry.name for entry in env.storage.queues.list(limit=100).items]


def _open(env: Env) -> tuple[RecordStore, Space]:
    """The records of the control plane, and a space of the check's own."""
    return _records(env), env.space()


def _records(env: Env) -> RecordStore:
    records = env.storage.control.records
    ensure(
        records is not None,
        "REC-001",
        "driver.records is None; a control plane offers a RecordStore (else --profile data)",
    )
    assert records is not None
    return records


def _insert(
    env: Env, records: RecordStore, space: Space, key: str, value: bytes, requirement: str = "REC-001"
) -> Record:
    """Insert a record that must not be there, and wait until it is seen."""
    version = records.insert(space, key, value, nonce=f"nonce of {key}"[:20])
    ensure(version is not None, requirement, f"insert of {key!r} in {space}, where no record is, returned None")
    record = Record(key, value, str(version), f"nonce of {key}"[:20])
    _see(env, space, key, record, requirement, f"of {key!r} after insert")
    return record


def _fill(env: Env, records: RecordStore, space: Space, keys: tuple[str, ...] | list[str]) -> dict[str, Record]:
    """Insert a record of each key, in no order."""
    written = {}
    for number, key in enumerate(env.rng.sample(keys, len(keys))):
        value, nonce = f"value {number}".encode(), f"nonce {number}"
        version = records.insert(space, key, value, nonce=nonce)
        ensure(version is not None, "REC-001", f"insert of {key!r}, where no record is, returned None")
        written[key] = Record(key, value, str(version), nonce)
    return written


def _see(env: Env, space: Space, key: str, expected: Record | None, requirement: str, what: str) -> None:
    records = _records(env)
    env.see(
        lambda: records.get(space, key),
        lambda seen: seen == expected,
        requirement,
        f"the record {what}, expected {repr(expected)[:300]}",
    )


def _see_value(env: Env, space: Space, key: str, expected: bytes, what: str) -> None:
    records = _records(env)

    def wrong() -> str | None:
        record = records.get(space, key)
        if record is None:
            return "no record"
        if type(record.value) is bytes and record.value == expected:
            return None
        return f"a {type(record.value).__name__} of {len(record.value)} that begins {record.value[:40]!r}"

    env.see(wrong, lambda seen: seen is None, "REC-009", f"the value {what}")


def _see_scan(env: Env, space: Space, keys: list[str], what: str, requirement: str = "REC-005") -> list[Record]:
    records = _records(env)
    return env.see(
        lambda: [*records.scan(space, limit=len(keys) + 100)],
        lambda found: [record.key for record in found] == keys,
        requirement,
        f"the keys that scan gives {what}, expected {repr(keys)[:300]}",
    )


def _until_absent(env: Env, space: Space, key: str, requirement: str) -> None:
    records = _records(env)
    env.wait_for(
        lambda: records.get(space, key),
        lambda seen: seen is None,
        requirement,
        f"get of {key!r} after its ttl, expected None",
        within=3 + env.driver.settle_time,
    )
