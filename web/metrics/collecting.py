"""What is scraped, out of answers that are kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from strongroom.runtime import Runtime
from web.metrics import readings
from web.metrics.catalogue import BY_NAME, METRICS
from web.metrics.readings import Asking, Reading, Sample

LONGEST = "10s"  # for one statement: who looks must not be what slows the platform down

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """What one reading gave, and when."""

    at: float  # by the monotonic clock
    seconds: float
    samples: tuple[Sample, ...] | None  # None: it failed


@dataclass(eq=False)
class Collector:
    """Asks the database at most as often as each reading says, however often it is scraped."""

    runtime: Runtime
    _kept: dict[str, Answer] = field(default_factory=dict)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def page(self) -> bytes:
        """As Prometheus reads it."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families = {
            each.short: GaugeMetricFamily(each.name, each.words, labels=each.labels)
            for each in METRICS
        }
        for short, labels, value in self.samples():
            families[short].add_metric(labels, value)
        yield from (family for family in families.values() if family.samples)

    def samples(self) -> Iterator[Sample]:
        yield "build_info", (version("strongroom"),), 1
        with self._one:
            try:
                answers = {each.name: self._answer(each) for each in readings.READINGS}
            except OperationalError as error:
                log.warning("metrics have no database", error=type(error.orig).__name__)
                yield "database_up", (), 0
                return
        yield "database_up", (), 1
        for name, answer in answers.items():
            yield "reading_failed", (name,), float(answer.samples is None)
            yield "reading_seconds", (name,), answer.seconds
            yield from answer.samples or ()

    def _answer(self, reading: Reading) -> Answer:
        """The one that is kept, unless it is too old. Raises when the database is away."""
        kept, began = self._kept.get(reading.name), time.monotonic()
        if kept is not None and began - kept.at < reading.every.total_seconds():
            return kept
        self._kept.pop(reading.name, None)
        samples = self._read(reading)
        self._kept[reading.name] = Answer(began, time.monotonic() - began, samples)
        return self._kept[reading.name]

    def _read(self, reading: Reading) -> tuple[Sample, ...] | None:
        """One that fails says so and stops no other; what it said before is not said again."""
        try:
            with self.runtime.database.session(readings.ROLE) as session:
                session.execute(text(f"set local statement_timeout = '{LONGEST}'"))
                asking = Asking(self.runtime, session, self.runtime.now())
                return tuple(_known(each) for each in reading.read(asking))
        except Exception as error:  # an edge: the other groups are told
            if isinstance(error, OperationalError) and _is_away(error):
                raise
            log.exception("a group of metrics could not be read", reading=reading.name)
            return None


def _is_away(error: OperationalError) -> bool:
    """No connection could be had, or it was lost; a statement that took too long is neither."""
    return error.statement is None or error.connection_invalidated


def _known(sample: Sample) -> Sample:
    """A mistake of ours shows in tests, not as a series without words."""
    assert len(sample[1]) == len(BY_NAME[sample[0]].labels), sample
    return sample
