"""Lessons with their evidence, signatures of failures, what became of accepted lines, and tombstones."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lesson",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("claim", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("supported", sa.Integer(), nullable=False),
        sa.Column("contradicted", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("created", sa.String(), nullable=False),
        sa.Column("changed", sa.String(), nullable=False),
        sa.Column("used", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lesson"),
        sa.UniqueConstraint("key", name="uq_lesson_key"),
    )
    op.create_index("ix_lesson_place_kind", "lesson", ["place", "kind"])
    op.create_index("ix_lesson_subject", "lesson", ["subject"])
    op.create_table(
        "evidence",
        sa.Column("lesson_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("stance", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("saved_tokens", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["lesson_id"], ["lesson.id"], name="fk_evidence_lesson_id_lesson"),
        sa.PrimaryKeyConstraint("lesson_id", "seq", name="pk_evidence"),
    )
    op.create_index("ix_evidence_run_id", "evidence", ["run_id"])
    _of_runs()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE lesson_text USING fts5("
            "id UNINDEXED, place, claim, words, tokenize = \"unicode61 tokenchars '_'\")"
        )


def _of_runs() -> None:
    """What is known of runs beyond their events."""
    op.create_table(
        "failure",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("test", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "seq"], ["event.run_id", "event.seq"], name="fk_failure_run_id_event"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", "position", name="pk_failure"),
    )
    op.create_index("ix_failure_signature", "failure", ["signature"])
    op.create_table(
        "survival",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("edited", sa.Integer(), nullable=False),
        sa.Column("reverted", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_survival_run_id_run"),
        sa.PrimaryKeyConstraint("run_id", "days", name="pk_survival"),
    )
    op.create_table(
        "tombstone",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("removed", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tombstone"),
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE lesson_text")
    for table in ("tombstone", "survival", "failure", "evidence", "lesson"):
        op.drop_table(table)
