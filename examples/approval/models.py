"""A purchase and the payments for it."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The application's tables."""


class Purchase(Base):
    """What a person wants to buy."""

    __tablename__ = "approval_purchases"

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]
    euros: Mapped[int]
    state: Mapped[str] = mapped_column(default="waits for approval")
    job_id: Mapped[int | None]


class Payment(Base):
    """Money that was spent: there must be one row for each approved purchase, never two."""

    __tablename__ = "approval_payments"

    id: Mapped[int] = mapped_column(primary_key=True)
    purchase_id: Mapped[int] = mapped_column(ForeignKey(Purchase.id))
    euros: Mapped[int]
    approved_by: Mapped[str]
