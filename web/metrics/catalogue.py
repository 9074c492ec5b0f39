"""Every metric there is. docs/operations/metrics.md has the same table; a test compares them.

All are gauges: they say how things stand in the rows, so that a process that was restarted has
forgotten nothing, and two web processes say the same. Seconds and bytes, as Prometheus wants it.
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "strongroom_"
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Metric:
    """One metric; `words` is what Prometheus shows of it."""

    short: str  # the name without PREFIX
    words: str
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return PREFIX + self.short


METRICS = (
    Metric("build_info", "Always 1; which version this is.", ("version",)),
    Metric("database_up", "1 if the control database answered when it was last asked."),
    Metric("reading_failed", "1 if this group of metrics could not be read.", ("reading",)),
    Metric("reading_seconds", "How long it took to read this group.", ("reading",)),
    # Tenants
    Metric("tenants", "Tenants there are."),
    Metric("tenants_attention", "Tenants that need attention, by why.", ("code",)),
    Metric("tenants_without_point", "Tenants without any complete point that is stored."),
    Metric(
        "last_complete_point_age_seconds",
        "Age of the tenants' newest complete stored point; quantile 1 is the oldest.",
        ("quantile",),
    ),
    Metric(
        "tenant_last_complete_point_age_seconds",
        "The same of each tenant; only up to STRONGROOM_METRICS_TENANTS tenants.",
        ("tenant",),
    ),
    # Work
    Metric("backup_runs_last_day", "Runs asked for in the last 24 hours.", ("outcome",)),
    Metric("proofs_last_day", "Proofs asked for in the last 24 hours.", ("level", "state")),
    Metric("drills_last_day", "Rehearsed restores asked for in the last 24 hours.", ("state",)),
    Metric(
        "oldest_proof_age_seconds",
        "Since when the repository whose last passed proof is the oldest has had none.",
        ("level",),
    ),
    Metric(
        "oldest_drill_age_seconds",
        "Since when the tenant whose last rehearsed restore is the oldest has had none.",
    ),
    Metric("queue_depth", "Rows that are due and wait for a worker.", ("queue", "kind")),
    Metric(
        "queue_oldest_waiting_seconds",
        "How long the oldest of them has been due.",
        ("queue", "kind"),
    ),
    Metric("work_running", "Rows that a worker has taken.", ("kind",)),
    Metric("processes_alive", "Processes that gave a sign of life just now.", ("part",)),
    Metric("heartbeat_age_seconds", "Since a part of the platform last gave one.", ("part",)),
    # Regions
    Metric("copies_waiting", "Copies that are not in this region yet.", ("region",)),
    Metric("copies_failing", "Those of them whose last try failed, by why.", ("region", "code")),
    Metric("oldest_copy_waiting_seconds", "How old the oldest point not there is.", ("region",)),
    Metric(
        "stored_bytes", "Bytes that the snapshots standing there added when they came.", ("region",)
    ),
    Metric("repositories", "Repositories, by their state.", ("region", "state")),
    # What needs a person
    Metric("removals_waiting", "Removals that are planned and not through."),
    Metric("removals_blocked", "Those of them that something holds back.", ("code",)),
    Metric("findings_open", "Findings that nobody has settled.", ("code",)),
    Metric("alerts_open", "Alerts that are open.", ("severe",)),
    # The record
    Metric("record_entries", "Entries under the last signed checkpoint."),
    Metric("record_waiting_entries", "Entries that have no place in the log yet."),
    Metric("record_oldest_waiting_seconds", "How long the oldest of them has waited."),
    Metric("record_refused", "1 if the signer refuses to go on."),
)
BY_NAME = {each.short: each for each in METRICS}
