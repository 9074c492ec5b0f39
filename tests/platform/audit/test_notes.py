"""Signed notes, checkpoints and proofs against those of others."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit import notes
from strongroom.audit.notes import BadNote, Checkpoint, PublicKey, SigningKey, Unsigned
from strongroom.errors import BadValue

# The example of Go's golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
NOTE = (
    TEXT + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvq"
    "fqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of c2sp.org/tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q"
    "1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
OURS = SigningKey("example.com/log", bytes(range(32)))


def test_a_note_is_signed_as_others_sign_it() -> None:
    key = SigningKey("PeterNeumann", base64.b64decode(PETERS_KEY)[1:])
    assert str(key.public) == PETER
    assert notes.sign(TEXT, [key]) == NOTE.encode()


def test_a_note_of_others_is_believed_for_its_key_alone() -> None:
    peter = PublicKey.from_text(PETER)
    assert notes.opened(NOTE.encode(), [peter, OURS.public]) == (TEXT, [peter])
    with pytest.raises(Unsigned, match="no key that is trusted"):
        notes.opened(NOTE.encode(), [OURS.public])
    with pytest.raises(Unsigned, match="was changed"):
        notes.opened(NOTE.replace("answer", "Answer").encode(), [peter])


def test_a_checkpoint_of_others_is_read() -> None:
    text, _, _ = SOFA.rpartition("\n\n")
    found = Checkpoint.from_text(text + "\n")
    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert found.root.hex().startswith("0ac5186a9186")
    assert found.text == text + "\n"


@pytest.mark.parametrize(
    "text",
    ["a\n1\n", "a\n01\nAAAA\n", "a\n-1\nAAAA\n", "a\n1\nAAAA\n", "\n1\nAAAA\n", "a\n1\n!\n", "a"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        Checkpoint.from_text(text)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = notes.sign(Checkpoint("example.com/other", 1, bytes(32)).text, [OURS])
    with pytest.raises(BadNote, match="Wanted a checkpoint of the log example.com/log"):
        notes.checkpoint(note, origin="example.com/log", trusted=[OURS.public])


@pytest.mark.parametrize(
    "text", [PETER[:-4], PETER.replace("c74f20a3", "c74f20a4"), "", "a+b", "a b+c74f20a3+AAAA"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        PublicKey.from_text(text)


@given(st.data())
def test_a_note_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    note = notes.sign(Checkpoint("example.com/log", 7, bytes(range(32))).text, [OURS])
    at = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda mark: mark != note[at]))
    changed = note[:at] + bytes([other]) + note[at + 1 :]
    with pytest.raises(notes.NoteRefused):
        notes.opened(changed, [OURS.public])


def test_a_proof_is_written_as_others_write_it() -> None:
    path = [bytes(32), bytes(range(32))]
    note = notes.sign(Checkpoint("example.com/log", 7, bytes(32)).text, [OURS])
    made = notes.proof(5, path, note)
    head = f"c2sp.org/tlog-proof@v1\nindex 5\n{base64.b64encode(path[0]).decode()}\n"
    assert made.startswith(head.encode())
    assert notes.read_proof(made) == (5, path, note)
    for broken in (made.replace(b"index", b"place"), made[:40], b"", made.replace(b"@v1", b"@v2")):
        with pytest.raises(BadNote):
            notes.read_proof(broken)
