"""Create arch_fault_validation."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "arch_fault_validation",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("arch", sa.String(32), nullable=False),
        sa.Column("kernel_version", sa.String(128), nullable=False),
        sa.Column("glibc_version", sa.String(32), nullable=False),
        sa.Column("failure_rate_percent", sa.Double(), nullable=False),
        sa.Column("failure_rate_low", sa.Double(), nullable=False),
        sa.Column("failure_rate_high", sa.Double(), nullable=False),
        sa.Column("recovery_time_ms", sa.Double(), nullable=True),
        sa.Column("artifact_digest", sa.String(64), nullable=False),
        sa.Column("artifact", sa.String(255), nullable=False),
        sa.Column("fault", sa.String(128), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("emulated", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tool_version", sa.String(64), nullable=False),
        sa.Column("release", sa.String(128), nullable=False),
        sa.CheckConstraint("runs > 0", name="ck_runs"),
        sa.CheckConstraint(
            "0 <= failure_rate_low AND failure_rate_low <= failure_rate_percent "
            "AND failure_rate_percent <= failure_rate_high AND failure_rate_high <= 100",
            name="ck_failure_rate",
        ),
        sa.CheckConstraint("recovery_time_ms IS NULL OR recovery_time_ms >= 0", name="ck_recovery"),
    )
    op.create_index(
        "ix_arch_fault_validation_trend", "arch_fault_validation", ["artifact", "arch", "fault", "started_at"]
    )


def downgrade() -> None:
    """Remove both."""
    op.drop_index("ix_arch_fault_validation_trend", "arch_fault_validation")
    op.drop_table("arch_fault_validation")
