"""Backing up a stream, so that one that breaks off leaves no snapshot.

A closed pipe looks to restic like the end of a file, so a dump that dies half way would be stored
as if it were whole. Therefore restic reads through a gate (`flags.GATE`): once the stream has
ended, the gate waits until we say that it ended well, and fails otherwise, and restic then makes
no snapshot. The one who produces the stream is a process of ours, never a child of restic, and so
sees nothing of restic's environment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Self

from backup.restic import calls, errors, flags, outputs
from backup.restic.calls import Answer, Call, Repository, Surroundings
from backup.restic.flags import Stream
from backup.restic.outputs import BackupReport
from strongroom import program


def backup_stream(
    repository: Repository,
    here: Surroundings,
    wanted: Stream,
    *,
    source: int,
    verdict: Callable[[], bool],
) -> BackupReport:
    """Back up what comes through a pipe as one file, if `verdict` says at its end that it is whole.

    `source` is the pipe's reading end, closed here in any case; the caller must hold no writing
    end open. `verdict` is called once, from another thread, after the last byte: wait there for
    the producer's exit code. Raises StreamBroken when it says no (or what it raises), StreamEmpty
    when nothing came; no snapshot remains of either.
    """
    with _Gate(source, verdict) as gate:
        call = Call(
            "backup",
            flags.backup_stream(wanted, stream=source, ended=gate.ended, verdict=gate.answer),
            repository,
            descriptors=gate.for_child,
        )
        summary, answer = _run(call, here, gate)
    _judge(gate, answer, wanted)
    return outputs.backup_report(outputs.only_summary(summary, "backup"), complete=True, unread=())


def _judge(gate: _Gate, answer: Answer, wanted: Stream) -> None:
    """Raise unless the stream was whole and restic stored it."""
    if gate.failure is not None:
        raise gate.failure
    if gate.verdict is False:
        raise errors.StreamBroken(
            f"The stream for {wanted.filename!r} did not end well, so it was not kept. "
            "See why its producer failed."
        )
    if gate.empty:
        raise errors.StreamEmpty(
            f"The stream for {wanted.filename!r} was empty, so it was not kept. "
            "See whether its producer found what it was to dump."
        )
    if answer.code != 0:
        raise answer.failure


def _run(call: Call, here: Surroundings, gate: _Gate) -> tuple[list[calls.Message], Answer]:
    heard, messages = calls.Heard(), list[calls.Message]()

    def line(text: str) -> None:
        message = calls.parse(text)
        if message is not None and message.get("message_type") == "summary":
            messages.append(message)

    with calls.prepared(call, here) as command:
        child = program.start(command, stdout=-1, stderr=-1)
        gate.started()
        finished = child.finish(
            timeout=here.timeout, on_line=line, on_error_line=heard.line, stop=here.stop
        )
    gate.finished()
    return messages, calls.answered(call, finished, heard)


class _Gate:
    """The pipes beside a stream: one says that it ended, the other what we make of it."""

    def __init__(self, source: int, verdict: Callable[[], bool]) -> None:
        self.source = source
        self.verdict: bool | None = None  # None: the stream never came to its end
        self.empty = False
        self.failure: BaseException | None = None
        self._ask = verdict
        self._hear, self.ended = os.pipe()
        self.answer, self._say = os.pipe()
        self._thread = threading.Thread(target=self._decide, daemon=True)

    @property
    def for_child(self) -> list[int]:
        return [self.source, self.ended, self.answer]

    def __enter__(self) -> Self:
        return self

    def started(self) -> None:
        """The child has its ends: close ours, so that each side sees the other go."""
        self._close_childs()
        self._thread.start()

    def finished(self) -> None:
        """restic has ended; what was asked of the verdict is still waited for."""
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self._close_childs()
        if self._thread.ident is None:
            self._close_ours()

    def _decide(self) -> None:
        try:
            heard = os.read(self._hear, 16)
            if heard:
                self.empty = heard == b"empty\n"
                self.verdict = bool(self._ask())
                os.write(self._say, b"ok\n" if self.verdict and not self.empty else b"no\n")
        except BrokenPipeError:
            return  # restic is gone; its exit code says why
        except BaseException as error:  # noqa: BLE001 - raised again by backup_stream
            self.failure = error
        finally:
            self._close_ours()

    def _close_childs(self) -> None:
        for descriptor in (self.source, self.ended, self.answer):
            if descriptor >= 0:
                os.close(descriptor)
        self.source = self.ended = self.answer = -1

    def _close_ours(self) -> None:
        os.close(self._hear)
        os.close(self._say)
