"""The one database: engine, transactions, migrations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import DateTime, Engine, Insert, MetaData, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from handoff.errors import HandoffError
from handoff.metrics import WRITE_SECONDS
from handoff.writer import Writer

T = TypeVar("T")
P = ParamSpec("P")


class TablesUnknown(HandoffError):
    """The tables cannot be brought to the newest shape: another version made them; the message says what to do."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC; SQLite forgets zones, so they are put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse naive moments, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give back an aware moment."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime}


class Database:
    """A connection pool and the only place that commits."""

    def __init__(self, url: str) -> None:
        self.url = url
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        # An error's text goes into the log: without the values it holds no words, addresses or tokens of anybody.
        self.engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers, self._writer = self.engine, None
        if self.engine.dialect.name == "sqlite":
            _prepare_sqlite(self.engine)
            self._readers = create_engine(url, hide_parameters=True)
            _prepare_sqlite(self._readers, read_only=True)
            self._writer = Writer(self.engine)

    @property
    def is_shared(self) -> bool:
        """Whether other services may work on it at the same time; on SQLite there is one."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def session_scope(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back when it raises."""
        with self._sessions.begin() as session:
            yield session

    async def run(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(session, ...)` on a thread, all or nothing; when this returns, it is safely stored.

        Raises:
            whatever `work` raises, and SQLAlchemyError when it could not be stored.
        """
        with WRITE_SECONDS.time():
            if self._writer is not None:
                return await asyncio.wrap_future(self._writer.put(lambda session: work(session, *args, **kwargs)))

            def transaction() -> T:
                with self.session_scope() as session:
                    return work(session, *args, **kwargs)

            return await asyncio.to_thread(transaction)

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(session, ...)` on a thread; it may only look, and does not wait for those who write."""

        def look() -> T:
            with Session(self._readers, expire_on_commit=False) as session:
                session.connection(execution_options={"postgresql_readonly": True})
                return work(session, *args, **kwargs)

        return await asyncio.to_thread(look)

    def migrate(self) -> None:
        """Bring the tables to the newest shape.

        Raises:
            TablesUnknown: they are newer than we are.
        """
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
        with self.engine.begin() as connection:
            if self.is_shared:  # two services that start together
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('migrate'))"))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as problem:
                raise TablesUnknown(
                    f"the database was made by a newer version ({problem}); run that one, or put the backup of before "
                    "the upgrade back (docs/operators.md)"
                ) from None

    def empty_log(self) -> None:
        """Leave nothing that was deleted in SQLite's log of writes, unless somebody is reading it just now."""
        if self.engine.dialect.name == "sqlite":
            with closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Finish what is being written and give the connections back."""
        if self._writer is not None:
            self._writer.close()
        self._readers.dispose()
        self.engine.dispose()


def insert_new(session: Session, table: type[Base], **values: Any) -> Any:
    """Insert a row, unless one with its unique values is there or is being written by somebody else.

    Returns:
        Its primary key; None when there was one.
    """
    session.flush()
    inserted = session.connection().execute(_insert_new(table, dialect_of(session)), values)
    return inserted.inserted_primary_key[0] if inserted.rowcount and inserted.inserted_primary_key else None


@cache
def _insert_new(table: type[Base], dialect: str) -> Insert:
    """Built once: building a statement takes longer than running it."""
    return insert_for(dialect)(table_of(table)).on_conflict_do_nothing()


def table_of(model: type[Base]) -> Table:
    """The table itself: a statement about it goes past the ORM, which takes as long as the rest."""
    return cast(Table, model.__table__)


def insert_for(dialect: str) -> type[postgresql.Insert | sqlite.Insert]:
    """The INSERT that can tell what to do about a row that is there; there is none for both databases."""
    return postgresql.Insert if dialect == "postgresql" else sqlite.Insert


def dialect_of(session: Session) -> str:
    """Which database it is, "sqlite" or "postgresql"."""
    return session.get_bind().dialect.name


def when_stored(session: Session, then: Callable[[], None]) -> None:
    """Call `then` once this transaction is committed, savepoints within it not counted."""
    waiting = [then]

    def tell(session: Session) -> None:
        while waiting and not session.in_nested_transaction():
            waiting.pop()()

    event.listen(session, "after_commit", tell)


def _prepare_sqlite(engine: Engine, *, read_only: bool = False) -> None:
    """WAL with FULL synchronisation: what was committed survives a power cut (348 commits/s measured on a small VM)."""
    # What is deleted is overwritten: erasing somebody must not leave his words in the file's free pages.
    pragmas = ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=20000", "secure_delete=ON"]
    # Writers begin as such, or two readers that both want to write would fail with "database is locked".
    begins = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in [*pragmas, "query_only=ON"] if read_only else pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(begins)
