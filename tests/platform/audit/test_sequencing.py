"""Entries get their place once, in one log, and nothing is signed that does not grow out of it."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from strongroom.audit import entries, inspecting, keys, leaves, mending, notes, places, sequencing
from strongroom.audit.entries import Deed, Entry, Placed, Signed
from strongroom.audit.errors import Behind, Changed, Forked, NoRegion
from strongroom.audit.leaves import Leaf
from strongroom.audit.merkle import Range
from strongroom.audit.sequencing import Sequencer
from strongroom.db import Role
from strongroom.people import accounts
from strongroom.people.accounts import NewAccount
from strongroom.runtime import Runtime
from strongroom.stack.embedded import Embedded
from strongroom.storage_errors import Unreachable
from tenants.models import Tenant
from tests.cast import ADA
from tests.platform.audit.records import Desk

WISH = NewAccount("ada@example.org", "Ada")


@pytest.fixture
def desk(runtime: Runtime, stack: Embedded, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(places, "PREFIX", f"record-{uuid.uuid4()}/")
    made = Desk(runtime, stack)
    made.tamper("delete from record_entries")  # what the set-up did
    made.tamper("delete from record_pending")
    assert made.sequence() == 1  # the key that signs was made
    return made


def heads(desk: Desk) -> list[int]:
    return [row.size for row in desk.rows("select size from record_checkpoints order by size")]


def test_an_entry_is_kept_with_its_act_and_lost_with_it(desk: Desk) -> None:
    database = desk.runtime.database
    with pytest.raises(ZeroDivisionError), database.session(Role.PEOPLE) as session:
        accounts.add(session, WISH, by=ADA, now=desk.runtime.now())
        raise ZeroDivisionError
    assert desk.rows("select id from accounts") == []
    assert len(desk.rows("select id from record_entries")) == 1
    with database.session(Role.PEOPLE) as session:
        made = accounts.add(session, WISH, by=ADA, now=desk.runtime.now())
    _, row = desk.rows("select code, subject_id, by from record_entries order by id")
    assert tuple(row) == ("people.account-made", made.id, "operator")
    assert len(desk.rows("select entry_id from record_pending")) == 1


def test_no_role_of_ours_changes_or_removes_what_is_on_record(desk: Desk) -> None:
    desk.note()
    desk.sequence()
    tables = ("record_entries", "record_leaves", "record_checkpoints", "record_keys")
    for role in Role:
        if role is Role.MIGRATOR:
            continue  # owns them, and is used when the schema changes, by nobody else
        for table in tables:
            for statement in (f"delete from {table}", f"update {table} set {_column(table)}"):
                with (
                    pytest.raises(DBAPIError, match="permission denied"),
                    desk.runtime.database.session(role) as session,
                ):
                    session.execute(text(statement))


def _column(table: str) -> str:
    return {"record_entries": "code = ''", "record_keys": "public = ''"}.get(
        table, "hash = ''" if table == "record_leaves" else "note = ''"
    )


def test_all_that_waits_gets_a_place_without_holes_and_lies_signed_in_every_region(
    desk: Desk, acme: Tenant
) -> None:
    made = [*desk.note(5), *desk.note(4, tenant=acme.id)]
    waiting = len(desk.rows("select entry_id from record_pending"))
    assert desk.sequence() == waiting
    assert desk.sequence() == 0
    rows = desk.rows("select index, entry_id from record_leaves order by index")
    assert [row.index for row in rows] == list(range(waiting + 1))
    assert set(made) <= {row.entry_id for row in rows}
    assert desk.rows("select entry_id from record_pending") == []
    assert heads(desk)[-1] == waiting + 1
    for place in desk.places():
        assert place.sizes() == heads(desk)
    report = inspecting.inspect(desk.runtime)
    assert (report.problems, report.open, report.signed) == ([], [], waiting + 1)


def test_a_checkpoint_in_a_region_is_locked(desk: Desk) -> None:
    desk.note()
    desk.sequence()
    for place in desk.places():
        store = place._store(places.Act.LOCK)
        for each in [*store.versions(f"{places.PREFIX}checkpoints/")]:
            assert store.retained(each.key, each.version_id) is not None


def test_two_sequencers_give_no_place_twice(desk: Desk) -> None:
    desk.note(40)
    desk.sequence()
    desk.note(40)
    wrong: list[BaseException] = []

    def go() -> None:
        try:
            for _ in range(5):
                Sequencer(desk.runtime).round()
        except BaseException as error:  # noqa: BLE001 - told by the test
            wrong.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(desk.rows("select index from record_leaves")) == 81
    assert inspecting.inspect(desk.runtime).problems == []


def test_one_who_believes_to_be_alone_and_is_not_commits_nothing(desk: Desk) -> None:
    desk.note(2)
    desk.sequence()
    desk.note(2)
    going = Sequencer(desk.runtime)
    known = going._log(desk.places())
    with desk.runtime.database.session(Role.OPERATOR) as session:
        last = sequencing.newest(session)
    desk.sequence()  # the other one, while this one slept
    desk.note(1)
    with pytest.raises(IntegrityError):
        sequencing._sequence(desk.runtime, known, last)
    assert heads(desk) == [1, 3, 5]


def test_killed_before_the_regions_have_it_the_next_round_brings_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.note(3)
    desk.sequence()
    desk.note(2)
    with monkeypatch.context() as patch:
        patch.setattr(sequencing, "_keep", _killed)
        with pytest.raises(KeyboardInterrupt):
            desk.sequence()
    assert desk.places()[0].sizes() == [1, 4]
    desk.note(1)
    desk.sequence()
    assert [place.sizes() for place in desk.places()] == [[1, 4, 6, 7]] * 2
    assert inspecting.inspect(desk.runtime).problems == []


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_region_that_was_down_is_brought_what_it_lacks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.note(2)
    desk.sequence()
    away = desk.places()[1].name
    with monkeypatch.context() as patch:
        patch.setattr(places.Place, "newest", _newest_without(away))
        patch.setattr(places.Place, "keep", _keep_without(away))
        desk.note(2)
        desk.sequence()
    assert [place.sizes() for place in desk.places()] == [[1, 3, 5], [1, 3]]
    desk.sequence()
    assert [place.sizes() for place in desk.places()] == [[1, 3, 5], [1, 3, 5]]


_newest, _keep = places.Place.newest, places.Place.keep


def _newest_without(away: str) -> Any:
    def newest(place: places.Place) -> Any:
        if place.name == away:
            raise Unreachable("It is down.")
        return _newest(place)

    return newest


def _keep_without(away: str) -> Any:
    def keep(place: places.Place, *args: Any, **more: Any) -> None:
        if place.name == away:
            raise Unreachable("It is down.")
        _keep(place, *args, **more)

    return keep


def test_with_no_region_nothing_is_signed_and_entries_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.note(2)
    desk.sequence()
    desk.note(1)
    monkeypatch.setattr(places.Place, "newest", _killed_region)
    with pytest.raises(NoRegion):
        desk.sequence()
    assert heads(desk) == [1, 3]


def _killed_region(_: object) -> None:
    raise Unreachable("It is down.")


# A database that was put back


def _put_back(desk: Desk, size: int) -> None:
    """As a dump has it that was taken when the log had that size."""
    gone = f"(select entry_id from record_leaves where index >= {size})"
    desk.tamper(f"delete from record_entries where id in {gone}")
    desk.tamper(f"delete from record_leaves where index >= {size}")
    desk.tamper(f"delete from record_checkpoints where size > {size}")
    desk.tamper("delete from record_pending")


def test_after_the_database_was_put_back_nothing_is_signed_and_it_is_told(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.note(2)
    desk.sequence()
    _put_back(desk, 4)
    desk.note(3)  # life goes on
    sequencer = Sequencer(desk.runtime)
    with pytest.raises(Behind, match=r"over 6 entries.*has 4.*audit mend") as caught:
        sequencer.round()
    assert heads(desk) == [1, 4]
    sequencer._tell(caught.value)
    assert inspecting.standing(desk.runtime).attention(desk.runtime.now()) == ("record-behind",)
    assert ("record-behind", None) in desk.problems()


def test_mended_the_log_goes_on_and_what_was_lost_is_there_without_details(desk: Desk) -> None:
    first = desk.note(3)
    desk.sequence()
    lost = desk.note(2)
    desk.sequence()
    _put_back(desk, 4)
    since = desk.note(3)
    done = mending.mend(desk.runtime, by=ADA)
    assert done is not None
    assert (done.before, done.after, done.lost) == (4, 6, 2)
    desk.sequence()
    placed = desk.rows("select entry_id from record_leaves order by index")
    order = [row.entry_id for row in placed]
    assert (set(order[1:4]), set(order[4:6])) == (set(first), set(lost))
    assert set(since) < set(order[6:])
    with desk.runtime.database.session(Role.OPERATOR) as session:
        row = session.get_one(Entry, lost[0])
        assert (row.details, row.salt, row.code) == (None, None, "tests.done")
    assert inspecting.inspect(desk.runtime).problems == []
    assert mending.mend(desk.runtime, by=ADA) is None


def test_a_database_from_before_the_first_key_is_mended_too(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    _put_back(desk, 0)
    desk.tamper("delete from record_keys")
    with pytest.raises(Behind, match="was put back to before"):
        desk.sequence()
    done = mending.mend(desk.runtime, by=ADA)
    assert done is not None
    assert (done.before, done.after) == (0, 4)  # three, and the key that was made
    desk.sequence()
    assert inspecting.inspect(desk.runtime).problems == []


def test_another_log_is_not_taken_for_ours(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.note(2)
    desk.sequence()
    _put_back(desk, 4)
    desk.tamper("update record_checkpoints set root = %s where size = 4", b"r" * 32)
    with pytest.raises(Forked):
        mending.mend(desk.runtime, by=ADA)


# What the signer refuses


def test_over_entries_that_were_changed_nothing_is_signed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.note(3)
    with monkeypatch.context() as patch:
        patch.setattr(sequencing, "_keep", _killed)
        with pytest.raises(KeyboardInterrupt):
            desk.sequence()  # in the database, in no region yet
    desk.tamper("update record_entries set code = 'tests.undone'")
    with pytest.raises(Changed, match="not those that were signed"):
        desk.sequence()
    assert [place.sizes() for place in desk.places()] == [[1], [1]]


def test_from_a_checkpoint_that_was_changed_nothing_grows(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.note(1)
    size = heads(desk)[-1]
    desk.tamper("update record_checkpoints set peaks = %s where size = %s", b"p" * 64, size)
    with pytest.raises(Changed):
        desk.sequence()
    other = Range().extended([bytes(32)] * size)
    desk.tamper(
        "update record_checkpoints set peaks = %s, root = %s where size = %s",
        *(other.encoded(), other.root(), size),
    )
    with pytest.raises(Forked):
        desk.sequence()


def test_a_shorter_log_is_not_signed(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.note(3)
    desk.sequence()
    desk.tamper("delete from record_checkpoints where size > 4")
    desk.tamper("delete from record_leaves where index >= 4")
    desk.tamper("insert into record_pending select id from record_entries on conflict do nothing")
    with pytest.raises(Behind):
        desk.sequence()


def test_places_that_were_given_twice_over_are_not_waited_for(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.tamper("insert into record_pending select id from record_entries")
    assert desk.sequence() == 0
    assert desk.rows("select entry_id from record_pending") == []


# Keys


def test_a_new_key_signs_on_and_the_one_before_vouches_for_it(desk: Desk) -> None:
    desk.note(2)
    desk.sequence()
    made = sequencing.rotate(desk.runtime, by=ADA)
    desk.note(2)
    desk.sequence()
    with desk.runtime.database.session(Role.OPERATOR) as session:
        rows = keys.in_use(session)
        last = sequencing.newest(session)
    assert last is not None
    assert notes.opened(last.note, [made])[1] == [made]
    first = notes.PublicKey.from_text(rows[0].public)
    said = [row.statement for row in rows]
    assert keys.trusted_from(said, first) == [first, made]
    assert keys.trusted_from(said, made) == [made]
    assert inspecting.inspect(desk.runtime).problems == []
    desk.tamper("update record_keys set statement = %s where number = 2", said[0])
    with pytest.raises(Changed, match="keys of the record"):
        desk.sequence()
    assert [code for code, _ in desk.problems()] == ["keys-changed"]


def test_the_private_half_is_in_no_table(desk: Desk) -> None:
    desk.note(1)
    desk.sequence()
    with desk.runtime.database.session(Role.OPERATOR) as session:
        (row,) = keys.in_use(session)
        key = keys.signing(desk.runtime, desk.places(), row)
    with desk.superuser() as line:
        found = line.execute(b"select record_keys::text from record_keys").fetchall()
    assert key.seed.hex() not in str(found)
    assert repr(key.seed) not in repr(key)


# What a leaf says


def test_a_leaf_names_nobody(desk: Desk, acme: Tenant) -> None:
    words = "Ada Lovelace asked for it from 192.0.2.7"
    deed = Deed("tests.done", "things", uuid.uuid4(), reason=words, details={"mail": "a@b.example"})
    with (
        entries.coming_from(entries.Whence(leaves.Channel.PAGE, "192.0.2.7")),
        desk.runtime.database.session(Role.OPERATOR, tenant=acme.id) as session,
    ):
        row = entries.note(session, deed, by=ADA, at=desk.runtime.now())
    said = row.leaf().encoded().decode()
    for word in ("ada", "Ada", "192.0.2.7", "example", "Lovelace"):
        assert word not in said
    assert row.details == {
        "mail": "a@b.example",
        "operator": "ada",
        "address": "192.0.2.7",
        "reason": words,
    }
    assert (row.reason, row.tenant_id, row.by) == ("in-words", acme.id, "operator")


def test_an_entry_says_the_same_when_it_is_read_again(desk: Desk) -> None:
    details = {"a": 1.5, "b": [True, None, {"ج": 1e22}], "c": uuid.uuid4()}
    with desk.runtime.database.session(Role.OPERATOR) as session:
        row = entries.note(
            session, Deed("tests.done", details=details), by=ADA, at=desk.runtime.now()
        )
        made = row.leaf().encoded()
    with desk.runtime.database.session(Role.OPERATOR) as session:
        again = session.get_one(Entry, row.id)
        assert again.leaf().encoded() == made
        assert again.salt is not None
        assert again.details is not None
        assert leaves.committed(again.salt, again.details) == again.commitment
    assert Leaf.decoded(made) == row.leaf()


def test_a_code_that_is_none_stops_the_act(desk: Desk) -> None:
    with (
        pytest.raises(entries.NoCode),
        desk.runtime.database.session(Role.OPERATOR) as session,
    ):
        entries.note(session, Deed("Ada did it"), by=ADA, at=desk.runtime.now())


def test_erased_details_leave_a_leaf_that_says_nothing_and_the_log_as_it_was(desk: Desk) -> None:
    desk.note(3)
    desk.sequence()
    desk.tamper("update record_entries set salt = null, details = null")
    assert inspecting.inspect(desk.runtime).problems == []


# What verification finds and names


def _signed_log(desk: Desk) -> list[uuid.UUID]:
    """Checkpoints over 1, 5 and 9 entries: the key that was made, and twice four acts."""
    for _ in range(2):
        desk.note(4)
        desk.sequence()
    return [row.entry_id for row in desk.rows("select entry_id from record_leaves order by index")]


SWAP = (
    "update record_leaves set index = -1 where index = 5;"
    "update record_leaves set index = 5 where index = 6;"
    "update record_leaves set index = 6 where index = -1"
)


def test_an_edited_row_is_found(desk: Desk) -> None:
    made = _signed_log(desk)
    desk.tamper("update record_entries set code = 'tests.undone' where id = %s", made[5])
    assert desk.problems() == [("edited", 5)]


def test_edited_details_are_found(desk: Desk) -> None:
    made = _signed_log(desk)
    desk.tamper("update record_entries set details = '{}' where id = %s", made[6])
    assert desk.problems() == [("details-edited", 6)]


def test_a_row_that_was_edited_with_its_hash_is_found(desk: Desk) -> None:
    made = _signed_log(desk)
    desk.tamper("update record_entries set code = 'tests.undone' where id = %s", made[5])
    with desk.runtime.database.session(Role.OPERATOR) as session:
        forged = session.get_one(Entry, made[5]).leaf().hash
    desk.tamper("update record_leaves set hash = %s where index = 5", forged)
    assert desk.problems() == [("edited", 5)]


def test_a_removed_row_is_found(desk: Desk) -> None:
    made = _signed_log(desk)
    desk.tamper("delete from record_entries where id = %s", made[5])
    assert desk.problems() == [("removed", 5)]


def test_a_row_that_was_removed_with_its_place_is_found(desk: Desk) -> None:
    made = _signed_log(desk)
    desk.tamper("delete from record_entries where id = %s", made[5])
    desk.tamper("delete from record_leaves where index = 5")
    assert desk.problems()[0] == ("missing", 5)
    desk.tamper("update record_leaves set index = index - 1 where index > 5")
    assert ("removed", 5) in desk.problems()


def test_an_inserted_row_is_found(desk: Desk) -> None:
    made = _signed_log(desk)
    (new,) = desk.note(1)
    desk.tamper("delete from record_pending")
    assert desk.problems() == [("inserted", None)]
    with desk.runtime.database.session(Role.OPERATOR) as session:
        forged = session.get_one(Entry, new).leaf().hash
    desk.tamper(
        "update record_leaves set entry_id = %s, hash = %s where entry_id = %s",
        *(new, forged, made[5]),
    )
    assert [code for code, _ in desk.problems()] == ["inserted", "removed", "inserted"]


def test_reordered_rows_are_found(desk: Desk) -> None:
    _signed_log(desk)
    for statement in SWAP.split(";"):
        desk.tamper(statement)
    assert desk.problems() == [("reordered", 5)]


def test_a_log_cut_short_is_found(desk: Desk) -> None:
    _signed_log(desk)
    desk.tamper(
        "delete from record_entries where id in (select entry_id from record_leaves "
        "where index >= 5)"
    )
    desk.tamper("delete from record_leaves where index >= 5")
    assert desk.problems()[0][0] in ("removed", "changed")
    desk.tamper("delete from record_checkpoints where size > 5")
    assert {code for code, _ in desk.problems()} == {"record-behind"}


def test_a_forked_log_is_found(desk: Desk) -> None:
    _signed_log(desk)
    with desk.runtime.database.session(Role.OPERATOR) as session:
        row = session.get_one(Signed, 5)
        (known,) = keys.in_use(session)
        key = keys.signing(desk.runtime, desk.places(), known)
    other = replace(
        notes.checkpoint(row.note, origin=key.name, trusted=[key.public]), root=bytes(32)
    )
    place = desk.places()[0]
    forged = notes.sign(other.text, [key])  # by our own key: who has it can do that
    place.keep(5, forged, places.Batch(0, []), now=desk.runtime.now())
    assert desk.problems() == [("record-forked", None)]


def test_a_checkpoint_of_somebody_else_is_found(desk: Desk) -> None:
    _signed_log(desk)
    with desk.runtime.database.session(Role.OPERATOR) as session:
        row = session.get_one(Signed, 5)
    stranger = notes.SigningKey(
        notes.Checkpoint.from_text(row.note.decode().partition("\n\n")[0] + "\n").origin, bytes(32)
    )
    text_, _, _ = row.note.decode().partition("\n\n")
    forged = notes.sign(text_ + "\n", [stranger])
    desk.tamper("update record_checkpoints set note = %s where size = 5", forged)
    assert [code for code, _ in desk.problems()] == ["checkpoint-refused"]


def test_every_place_is_of_one_entry(desk: Desk) -> None:
    desk.note(2)
    desk.sequence()
    with (
        pytest.raises(DBAPIError, match="unique"),
        desk.runtime.database.session(Role.OPERATOR) as session,
    ):
        (first,) = session.execute(select(Placed).limit(1)).scalars()
        session.add(Placed(index=99, entry_id=first.entry_id, hash=first.hash))
