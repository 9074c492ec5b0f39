"""The first schema: everything that tenants own is isolated by row-level security.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "plan_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "name", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("made_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_versions")),
        sa.UniqueConstraint("code", "version", name=op.f("uq_plan_versions_code_version")),
    )
    op.create_table(
        "regions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("role_arn", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "closed",
                name="regionstate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regions")),
        sa.UniqueConstraint("name", name=op.f("uq_regions_name")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("country", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("locale", sa.String(), nullable=False),
        sa.Column("pack", sa.String(), nullable=True),
        sa.Column("plan_version_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_version_id"], ["plan_versions.id"], name=op.f("fk_tenants_plan_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("slug", name=op.f("uq_tenants_slug")),
    )
    op.create_table(
        "allowed_places",
        sa.Column(
            "kind",
            sa.Enum(
                "root",
                "host",
                name="placekind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("added_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_allowed_places_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allowed_places")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_allowed_places_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id", "kind", "value", name=op.f("uq_allowed_places_tenant_id_kind_value")
        ),
    )
    op.create_table(
        "holds",
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("placed_by", sa.String(), nullable=False),
        sa.Column("placed_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("released_by", sa.String(), nullable=True),
        sa.Column("released_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_holds_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_holds_tenant_id_id")),
    )
    op.create_table(
        "policies",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("cites", sa.String(), nullable=False),
        sa.Column("made_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_policies_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_policies_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "version", name=op.f("uq_policies_tenant_id_version")),
    )
    op.create_table(
        "repositories",
        sa.Column("region_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "new",
                "ready",
                "frozen",
                name="repositorystate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("key_hint", sa.String(), nullable=True),
        sa.Column("polynomial", sa.BigInteger(), nullable=True),
        sa.Column("credentials_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("unclean", sa.Boolean(), nullable=False),
        sa.Column("pruned_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["region_id"], ["regions.id"], name=op.f("fk_repositories_region_id")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_repositories_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_repositories_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "region_id",
            "epoch",
            name=op.f("uq_repositories_tenant_id_region_id_epoch"),
        ),
    )
    op.create_table(
        "schedules",
        sa.Column(
            "cadence",
            sa.Enum(
                "daily",
                "weekly",
                name="slotkind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("last_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("next_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_schedules_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint("tenant_id", "cadence", name=op.f("uq_schedules_tenant_id_cadence")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_schedules_tenant_id_id")),
    )
    op.create_index("ix_schedules_next_at", "schedules", ["next_at"], unique=False)
    op.create_table(
        "secrets",
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_secrets_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_secrets_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "subject_id",
            "purpose",
            name=op.f("uq_secrets_tenant_id_subject_id_purpose"),
        ),
    )
    op.create_table(
        "sources",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "options", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("ceiling_days", sa.Integer(), nullable=True),
        sa.Column("added_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("removed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sources_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sources")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_sources_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_sources_tenant_id_name")),
    )
    op.create_table(
        "steps",
        sa.Column("of", sa.String(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column("old", sa.String(), nullable=False),
        sa.Column("new", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column(
            "params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_steps_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steps")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_steps_tenant_id_id")),
    )
    op.create_index(op.f("ix_steps_tenant_id_at"), "steps", ["tenant_id", "at"], unique=False)
    op.create_index(
        op.f("ix_steps_tenant_id_row_id"), "steps", ["tenant_id", "row_id"], unique=False
    )
    op.create_table(
        "acts",
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "lock-release",
                "forget",
                "prune",
                "key-change",
                "repeat",
                name="actkind",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "keys", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_acts_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_acts_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acts")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_acts_tenant_id_id")),
    )
    op.create_index(
        op.f("ix_acts_tenant_id_repository_id"),
        "acts",
        ["tenant_id", "repository_id"],
        unique=False,
    )
    op.create_table(
        "backup_runs",
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "making",
                "stored",
                "failed",
                "quarantined",
                name="runstate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "trigger",
            sa.Enum(
                "schedule",
                "manual",
                "safety",
                name="trigger",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column(
            "cadences", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("full", sa.Boolean(), nullable=False),
        sa.Column("only_source_id", sa.Uuid(), nullable=True),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("started_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "progress", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("nudged_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "only_source_id"],
            ["sources.tenant_id", "sources.id"],
            name=op.f("fk_backup_runs_tenant_id_only_source_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "policy_id"],
            ["policies.tenant_id", "policies.id"],
            name=op.f("fk_backup_runs_tenant_id_policy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_backup_runs_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backup_runs")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_backup_runs_tenant_id_id")),
    )
    op.create_index(
        "ix_backup_runs_due",
        "backup_runs",
        ["due_at"],
        unique=False,
        postgresql_where="state in ('queued', 'making')",
    )
    op.create_table(
        "catalogue_paths",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column(
            "path_key", sa.String(), sa.Computed("md5(path)", persisted=True), nullable=False
        ),
        sa.Column(
            "parent_key", sa.String(), sa.Computed("md5(parent)", persisted=True), nullable=False
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_id"],
            ["sources.tenant_id", "sources.id"],
            name=op.f("fk_catalogue_paths_tenant_id_source_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_catalogue_paths_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_paths")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_catalogue_paths_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "source_id",
            "path_key",
            name=op.f("uq_catalogue_paths_tenant_id_source_id_path_key"),
        ),
    )
    op.create_index(
        op.f("ix_catalogue_paths_tenant_id_source_id_parent_key"),
        "catalogue_paths",
        ["tenant_id", "source_id", "parent_key"],
        unique=False,
    )
    op.create_table(
        "packs",
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_packs_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_packs_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packs")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_packs_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id", "repository_id", "name", name=op.f("uq_packs_tenant_id_repository_id_name")
        ),
    )
    op.create_table(
        "snapshots",
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("origin_id", sa.Uuid(), nullable=True),
        sa.Column("restic_id", sa.String(), nullable=False),
        sa.Column("taken_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("added_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("verified_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("forgotten_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("lost_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "origin_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name=op.f("fk_snapshots_tenant_id_origin_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_snapshots_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_id"],
            ["sources.tenant_id", "sources.id"],
            name=op.f("fk_snapshots_tenant_id_source_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_snapshots_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_snapshots_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "repository_id",
            "restic_id",
            name=op.f("uq_snapshots_tenant_id_repository_id_restic_id"),
        ),
    )
    op.create_index(
        op.f("ix_snapshots_tenant_id_origin_id"),
        "snapshots",
        ["tenant_id", "origin_id"],
        unique=False,
    )
    op.create_table(
        "act_versions",
        sa.Column("act_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("version_id", sa.String(), nullable=False),
        sa.Column("swept_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "act_id"],
            ["acts.tenant_id", "acts.id"],
            name=op.f("fk_act_versions_tenant_id_act_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_act_versions_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_act_versions")),
        sa.UniqueConstraint(
            "tenant_id",
            "act_id",
            "key",
            "version_id",
            name=op.f("uq_act_versions_tenant_id_act_id_key_version_id"),
        ),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_act_versions_tenant_id_id")),
    )
    op.create_table(
        "catalogue_versions",
        sa.Column("path_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "path_id"],
            ["catalogue_paths.tenant_id", "catalogue_paths.id"],
            name=op.f("fk_catalogue_versions_tenant_id_path_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_catalogue_versions_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_catalogue_versions")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_catalogue_versions_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "path_id",
            "since",
            name=op.f("uq_catalogue_versions_tenant_id_path_id_since"),
        ),
    )
    op.create_table(
        "point_sources",
        sa.Column("point_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "complete",
                "partial",
                "failed",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("snapshot_id", sa.Uuid(), nullable=True),
        sa.Column(
            "manifest", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("catalogued_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "point_id"],
            ["backup_runs.tenant_id", "backup_runs.id"],
            name=op.f("fk_point_sources_tenant_id_point_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot_id"],
            ["snapshots.tenant_id", "snapshots.id"],
            name=op.f("fk_point_sources_tenant_id_snapshot_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_id"],
            ["sources.tenant_id", "sources.id"],
            name=op.f("fk_point_sources_tenant_id_source_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_point_sources_tenant_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_point_sources")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_point_sources_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "point_id",
            "source_id",
            name=op.f("uq_point_sources_tenant_id_point_id_source_id"),
        ),
    )
    op.create_index(
        op.f("ix_point_sources_tenant_id_snapshot_id"),
        "point_sources",
        ["tenant_id", "snapshot_id"],
        unique=False,
    )
    op.create_table(
        "points",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "complete",
                "partial",
                "failed",
                name="outcome",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "kind",
            sa.Enum(
                "schedule",
                "manual",
                "safety",
                name="trigger",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("taken_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("first_seen_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column(
            "cadences", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("added_bytes", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("pinned_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "id"],
            ["backup_runs.tenant_id", "backup_runs.id"],
            name=op.f("fk_points_tenant_id_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_points_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_points_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_points_tenant_id_number")),
    )
    op.create_table(
        "slots",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "run",
                "missed",
                name="slotoutcome",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["backup_runs.tenant_id", "backup_runs.id"],
            name=op.f("fk_slots_tenant_id_run_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "schedule_id"],
            ["schedules.tenant_id", "schedules.id"],
            name=op.f("fk_slots_tenant_id_schedule_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_slots_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_slots_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id", "schedule_id", "at", name=op.f("uq_slots_tenant_id_schedule_id_at")
        ),
    )
    op.create_table(
        "copies",
        sa.Column("point_id", sa.Uuid(), nullable=False),
        sa.Column("region_id", sa.Uuid(), nullable=False),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "copying",
                "stored",
                "removed",
                "quarantined",
                name="copystate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("stored_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("nudged_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["region_id"], ["regions.id"], name=op.f("fk_copies_region_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "point_id"],
            ["points.tenant_id", "points.id"],
            name=op.f("fk_copies_tenant_id_point_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_copies_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_copies_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_copies")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_copies_tenant_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "point_id",
            "region_id",
            name=op.f("uq_copies_tenant_id_point_id_region_id"),
        ),
    )
    op.create_index(
        "ix_copies_due",
        "copies",
        ["due_at"],
        unique=False,
        postgresql_where="state in ('waiting', 'copying')",
    )
    op.create_table(
        "restores",
        sa.Column("point_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column(
            "destination",
            sa.Enum(
                "aside",
                "in-place",
                "folder",
                name="destination",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column(
            "paths", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "tables", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "running",
                "done",
                "failed",
                "cancelled",
                "quarantined",
                name="restorestate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("asked_by", sa.String(), nullable=False),
        sa.Column("asked_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("phase", sa.String(), nullable=True),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("safety_run_id", sa.Uuid(), nullable=True),
        sa.Column("undoes_id", sa.Uuid(), nullable=True),
        sa.Column(
            "report", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("nudged_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "point_id"],
            ["points.tenant_id", "points.id"],
            name=op.f("fk_restores_tenant_id_point_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "safety_run_id"],
            ["backup_runs.tenant_id", "backup_runs.id"],
            name=op.f("fk_restores_tenant_id_safety_run_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "source_id"],
            ["sources.tenant_id", "sources.id"],
            name=op.f("fk_restores_tenant_id_source_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "undoes_id"],
            ["restores.tenant_id", "restores.id"],
            name=op.f("fk_restores_tenant_id_undoes_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_restores_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restores")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_restores_tenant_id_id")),
    )
    op.create_index(
        "ix_restores_due",
        "restores",
        ["due_at"],
        unique=False,
        postgresql_where="state in ('waiting', 'running')",
    )
    op.create_table(
        "proofs",
        sa.Column("copy_id", sa.Uuid(), nullable=False),
        sa.Column(
            "level",
            sa.Enum(
                "structure",
                "data",
                "drill",
                name="level",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "proving",
                "passed",
                "failed",
                "quarantined",
                name="proofstate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("ended_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column(
            "found", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("nudged_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "copy_id"],
            ["copies.tenant_id", "copies.id"],
            name=op.f("fk_proofs_tenant_id_copy_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_proofs_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proofs")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_proofs_tenant_id_id")),
    )
    op.create_index(
        "ix_proofs_due",
        "proofs",
        ["due_at"],
        unique=False,
        postgresql_where="state in ('waiting', 'proving')",
    )
    op.create_index(
        op.f("ix_proofs_tenant_id_copy_id"), "proofs", ["tenant_id", "copy_id"], unique=False
    )
    op.create_table(
        "removals",
        sa.Column("copy_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=True),
        sa.Column("repository_id", sa.Uuid(), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column(
            "params", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "state",
            sa.Enum(
                "planned",
                "forgotten",
                "gone",
                "spared",
                name="removalstate",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("nudged_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "blocked", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "copy_id"],
            ["copies.tenant_id", "copies.id"],
            name=op.f("fk_removals_tenant_id_copy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "policy_id"],
            ["policies.tenant_id", "policies.id"],
            name=op.f("fk_removals_tenant_id_policy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "repository_id"],
            ["repositories.tenant_id", "repositories.id"],
            name=op.f("fk_removals_tenant_id_repository_id"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_removals_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removals")),
        sa.UniqueConstraint(
            "tenant_id",
            "copy_id",
            "source_id",
            name=op.f("uq_removals_tenant_id_copy_id_source_id"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_removals_tenant_id_id")),
    )
    op.create_index(
        "ix_removals_due",
        "removals",
        ["due_at"],
        unique=False,
        postgresql_where="state in ('planned', 'forgotten')",
    )
    isolate()


# Every table of tenants, and what the roles may do with it. Row-level security is forced on all of
# them, so that not even the owner reads across tenants without a policy that says so.
TENANT_TABLES = {
    "act_versions": "select, insert, update",
    "acts": "select, insert, update",
    "allowed_places": "select, insert, delete",
    "backup_runs": "select, insert, update",
    "catalogue_paths": "select, insert",
    "catalogue_versions": "select, insert, update",
    "copies": "select, insert, update",
    "holds": "select, insert, update",
    "packs": "select, insert, update, delete",
    "point_sources": "select, insert, update",
    "points": "select, insert, update",
    "policies": "select, insert",
    "proofs": "select, insert, update",
    "removals": "select, insert, update",
    "repositories": "select, insert, update",
    "restores": "select, insert, update",
    "schedules": "select, insert, update",
    "secrets": "select, insert, update, delete",
    "slots": "select, insert, update",
    "snapshots": "select, insert, update",
    "sources": "select, insert, update",
    "steps": "select, insert",
}
# The dispatcher works for all tenants, with these tables only.
DISPATCHED = {
    "backup_runs": "select, insert, update",
    "copies": "select, update",
    "policies": "select",
    "proofs": "select, insert, update",
    "removals": "select, update",
    "restores": "select, update",
    "schedules": "select, insert, update",
    "slots": "select, insert, update",
    "sources": "select (id, tenant_id, removed_at)",  # whether there are any, not what they are
    "steps": "select, insert",
}
MINE = "tenant_id = nullif(current_setting('app.tenant', true), '')::uuid"


def isolate() -> None:
    op.execute("grant usage on schema public to web, worker, dispatcher, operator")
    # The catalogue is filled by way of a temporary table.
    op.execute(
        "do $$ begin execute format("
        "'grant temporary on database %I to worker', current_database()); end $$"
    )
    op.execute("grant select on plan_versions, regions to web, worker, dispatcher, operator")
    op.execute("grant insert on plan_versions to operator")
    op.execute("grant insert, update on regions to operator")
    for table, rights in TENANT_TABLES.items():
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
        op.execute(f"grant {rights} on {table} to worker, operator")
        op.execute(f"grant select on {table} to web")
        op.execute(
            f"create policy own on {table} for all to web, worker, operator "
            f"using ({MINE}) with check ({MINE})"
        )
        op.execute(f"create policy every on {table} for select to operator using (true)")
    for table, rights in DISPATCHED.items():
        op.execute(f"grant {rights} on {table} to dispatcher")
        op.execute(
            f"create policy dispatch on {table} for all to dispatcher using (true) with check (true)"
        )
    mine = MINE.replace("tenant_id", "id")
    op.execute("alter table tenants enable row level security")
    op.execute("alter table tenants force row level security")
    op.execute("grant select on tenants to web, worker, dispatcher")
    op.execute("grant select, insert, update on tenants to operator")
    op.execute(f"create policy own on tenants for select to web, worker using ({mine})")
    op.execute("create policy every on tenants for select to dispatcher, operator using (true)")
    op.execute(f"create policy add on tenants for insert to operator with check ({mine})")
    op.execute(
        f"create policy change on tenants for update to operator using ({mine}) with check ({mine})"
    )
