"""The queue: backlogs, their items with leases, what happened to them, effects, and cursors of sources."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backlog",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_backlog"),
        sa.UniqueConstraint("name", name="uq_backlog_name"),
    )
    _items()
    op.create_table(
        "backlog_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backlog_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["backlog_id"], ["backlog.id"], name="fk_backlog_event_backlog_id_backlog"),
        sa.ForeignKeyConstraint(
            ["item_id"], ["backlog_item.id"], name="fk_backlog_event_item_id_backlog_item"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_backlog_event"),
    )
    op.create_index("ix_backlog_event_backlog_id_id", "backlog_event", ["backlog_id", "id"])
    op.create_index("ix_backlog_event_item_id", "backlog_event", ["item_id"])
    op.create_table(
        "backlog_effect",
        sa.Column("backlog_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("begun", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("done", sa.String(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["backlog_id"], ["backlog.id"], name="fk_backlog_effect_backlog_id_backlog"),
        sa.PrimaryKeyConstraint("backlog_id", "key", name="pk_backlog_effect"),
    )
    op.create_table(
        "backlog_cursor",
        sa.Column("backlog_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["backlog_id"], ["backlog.id"], name="fk_backlog_cursor_backlog_id_backlog"),
        sa.PrimaryKeyConstraint("backlog_id", "source", name="pk_backlog_cursor"),
    )


def _items() -> None:
    op.create_table(
        "backlog_item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("backlog_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("repo", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("withdrawn", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("settled", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("lease_s", sa.Float(), nullable=False),
        sa.Column("beaten", sa.String(), nullable=False),
        sa.Column("until", sa.String(), nullable=False),
        sa.Column("lease_seconds", sa.Float(), nullable=False),
        sa.Column("lease_tokens", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("run_ids", sa.JSON(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("updated", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["backlog_id"], ["backlog.id"], name="fk_backlog_item_backlog_id_backlog"),
        sa.PrimaryKeyConstraint("id", name="pk_backlog_item"),
        sa.UniqueConstraint("backlog_id", "key", "number", name="uq_backlog_item_backlog_id_key_number"),
    )
    op.create_index(
        "ix_backlog_item_backlog_id_state_rank_attempts_id",
        "backlog_item",
        ["backlog_id", "state", "rank", "attempts", "id"],
    )
    op.create_index("ix_backlog_item_state_repo", "backlog_item", ["state", "repo"])


def downgrade() -> None:
    for table in ("backlog_cursor", "backlog_effect", "backlog_event", "backlog_item", "backlog"):
        op.drop_table(table)
