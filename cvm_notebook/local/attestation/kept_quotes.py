"""Quotes that can be asked about by their checksum: those issued, and those that users publish."""

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from cvm_notebook.local.core.database import Database, Quote

MOST_PUBLISHED: Final = 1_000
"""As many are shown to everybody, the newest."""


def checksum_of(quote: bytes) -> str:
    """Return what a quote is asked about by: its SHA-256."""
    return hashlib.sha256(quote).hexdigest()


class Issued(NamedTuple):
    """A quote, the node whose machine signed it, and whose it is: None is a service's own."""

    quote: bytes
    node_id: int
    cvm_id: int | None = None


def note(database: Database, issued: Iterable[Issued]) -> None:
    """Remember whose quotes these are; they themselves are not kept."""
    rows = {
        checksum_of(one.quote): {"node_id": one.node_id, "cvm_id": one.cvm_id} for one in issued
    }
    with database.read() as session:
        known = session.scalars(select(Quote.checksum).where(Quote.checksum.in_(rows))).all()
    new = [{"checksum": one, **row} for one, row in rows.items() if one not in known]
    if not new:
        return
    with database.write() as session:
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        insert = sqlite.insert if is_sqlite else postgresql.insert
        session.execute(insert(Quote).values(new).on_conflict_do_nothing())


def publish(session: Session, quote: bytes, now: float) -> Quote:
    """Keep a quote that a user has sent: from now on everybody can read it."""
    found = by_checksum(session, checksum_of(quote)) or Quote(checksum=checksum_of(quote))
    found.quote = quote
    found.published_at = found.published_at or now
    session.add(found)
    session.flush()
    published = Quote.published_at.is_not(None)
    newest = select(Quote.id).where(published).order_by(Quote.published_at.desc(), Quote.id.desc())
    too_many = session.scalars(newest.offset(MOST_PUBLISHED)).all()
    session.execute(delete(Quote).where(Quote.id.in_(too_many)))
    return found


def by_checksum(session: Session, checksum: str) -> Quote | None:
    """Return what is known of a quote."""
    return session.scalar(select(Quote).where(Quote.checksum == checksum.lower()))


def published(session: Session, skip: int, limit: int) -> list[Quote]:
    """Return the quotes that everybody can read, the newest first."""
    query = select(Quote).where(Quote.published_at.is_not(None))
    newest = query.order_by(Quote.published_at.desc(), Quote.id.desc())
    return list(session.scalars(newest.offset(skip).limit(limit)))
