"""The table as SQLAlchemy sees it. Its history is in migrations/."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Double, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables of the store."""


class ArchFaultValidation(Base):
    """Table `arch_fault_validation`: one measurement a row; see `rows.Validation` for units."""

    __tablename__ = "arch_fault_validation"
    __table_args__ = (
        CheckConstraint("runs > 0", name="ck_runs"),
        CheckConstraint(
            "0 <= failure_rate_low AND failure_rate_low <= failure_rate_percent "
            "AND failure_rate_percent <= failure_rate_high AND failure_rate_high <= 100",
            name="ck_failure_rate",
        ),
        CheckConstraint("recovery_time_ms IS NULL OR recovery_time_ms >= 0", name="ck_recovery"),
        Index("ix_arch_fault_validation_trend", "artifact", "arch", "fault", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    arch: Mapped[str] = mapped_column(String(32))
    kernel_version: Mapped[str] = mapped_column(String(128))
    glibc_version: Mapped[str] = mapped_column(String(32))
    failure_rate_percent: Mapped[float] = mapped_column(Double)
    failure_rate_low: Mapped[float] = mapped_column(Double)
    failure_rate_high: Mapped[float] = mapped_column(Double)
    recovery_time_ms: Mapped[float | None] = mapped_column(Double)
    artifact_digest: Mapped[str] = mapped_column(String(64))
    artifact: Mapped[str] = mapped_column(String(255))
    fault: Mapped[str] = mapped_column(String(128))
    runs: Mapped[int]
    emulated: Mapped[bool]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    tool_version: Mapped[str] = mapped_column(String(64))
    release: Mapped[str] = mapped_column(String(128))
