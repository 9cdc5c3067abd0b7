"""Keyed seals on rows that grant access or contain published figures.

They're keyed hashes of the important columns. Someone who can write to the database but doesn't
have the key file can't create valid rows. Each model lists its sealed (`__sealed__`) and unsealed
(`__unsealed__`) columns. Rows are sealed whenever the ORM writes them, so statements may delete
such rows but must never update them. A forged row doesn't become genuine if it's updated.
"""

import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

from sqlalchemy import ColumnElement, Connection, String, bindparam, event, inspect, select, update
from sqlalchemy.orm import Mapped, Mapper, Session, mapped_column, object_session
from sqlalchemy.orm.attributes import set_committed_value

from subscribers.crypto.keyed_hashes import keyed_hash
from subscribers.crypto.keys import KeyFileError, KeyRing, SecretKey
from subscribers.loggers import get_logger
from subscribers.store.column_types import RowId
from subscribers.store.models import Base, table_of

# The key in `Session.info` under which the `RowSealKeys` are stored.
ROW_KEYS = "keys of sealed rows"
BATCH_SIZE = 500  # rows per statement
_PREFIX = b"access row\0"

log = get_logger("row-seals")


@dataclass(slots=True)
class RowSealKeys:
    """The keys that a database's sessions use to seal rows, which are loaded when they're first needed."""

    find: Callable[[], KeyRing] | None = None


class KeyedSealModel(Base):
    """The base class of models whose rows require a seal.

    A seal has the form `key id:HMAC-SHA-256` with 64 hex digits.
    """

    __abstract__ = True
    __sealed__: ClassVar[tuple[str, ...]] = ()
    __unsealed__: ClassVar[tuple[str, ...]] = ()

    id: Mapped[RowId]
    seal: Mapped[str] = mapped_column(String(90), default="", server_default="")


Row = TypeVar("Row", bound=KeyedSealModel)
_Values = Mapping[Any, Any]


def list_keyed_seal_models() -> list[type[KeyedSealModel]]:
    """Return every model that has sealed rows, sorted by table name."""
    models = [mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, KeyedSealModel)]
    return sorted(models, key=lambda model: str(model.__tablename__))


def attach_keys_to_session(session: Session, keys: KeyRing) -> None:
    """Attach keys to a session that was opened on a connection."""
    session.info[ROW_KEYS] = RowSealKeys(lambda: keys)


def find_keys_of_session(session: Session | None) -> KeyRing:
    """Return the keys that a session uses to seal rows.

    Raises:
        LookupError: no keys are attached.
        ApplicationError: the key file can't be used.
    """
    row_keys: RowSealKeys | None = session.info.get(ROW_KEYS) if session is not None else None
    if session is None or row_keys is None or row_keys.find is None:
        raise LookupError("a session without keys can't seal rows or read sealed ones (see RowSealKeys)")
    keys = row_keys.find()
    # The key file is read and checked once per session.
    attach_keys_to_session(session, keys)
    return keys


def filter_genuine_rows(session: Session, rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose seal is valid.

    The others are logged and ignored.
    """
    return [row for row in rows if is_genuine_row(session, row)]


def keep_if_genuine(session: Session, row: Row | None) -> Row | None:
    """Return the row if its seal is valid, or None if it isn't.

    Nothing is deleted.
    """
    return row if row is not None and is_genuine_row(session, row) else None


def is_genuine_row(session: Session, row: KeyedSealModel) -> bool:
    """Return True if a row's seal is valid.

    An invalid one is logged.
    """
    return has_genuine_values(find_keys_of_session(session), type(row), _values_of(row), row.seal, row_id=row.id)


def has_genuine_values(
    keys: KeyRing, model: type[KeyedSealModel], values: _Values, seal: str, *, row_id: int | None
) -> bool:
    """Return True if a seal is valid for the values of a model's sealed columns.

    An invalid one is logged.
    """
    genuine = _matches(keys, model, values, seal)
    if not genuine:
        log.error("a row without a valid seal was ignored", table=model.__tablename__, row=row_id)
    return genuine


def compute_row_seal(keys: KeyRing, model: type[KeyedSealModel], values: _Values) -> str:
    """Return a row's seal, made with the current key from the values of its sealed columns."""
    key = keys.current("access")
    return f"{key.id}:{_hash_values(key, model, values)}"


def _matches(keys: KeyRing, model: type[KeyedSealModel], values: _Values, seal: str) -> bool:
    key_id, _, mac = seal.partition(":")
    try:
        key = keys.by_id("access", key_id)
    except KeyFileError:
        return False
    return hmac.compare_digest(_hash_values(key, model, values).encode(), mac.encode())


def _hash_values(key: SecretKey, model: type[KeyedSealModel], values: _Values) -> str:
    sealed_values = {name: _plain_value(values[name]) for name in model.__sealed__}
    text = json.dumps([model.__tablename__, sealed_values], sort_keys=True, ensure_ascii=False)
    return keyed_hash(key.secret, _PREFIX, text.encode("utf-8", "surrogatepass"))


def _plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return value


@event.listens_for(KeyedSealModel, "before_insert", propagate=True)
def _seal_new_row(mapper: Mapper[Any], _connection: Connection, row: KeyedSealModel) -> None:
    for name in row.__sealed__:
        default: Any = mapper.columns[name].default
        if getattr(row, name) is None and default is not None and default.is_scalar:
            # The INSERT statement would only pass it to the database.
            setattr(row, name, default.arg)
    if "id" not in row.__sealed__ or row.id is not None:
        row.seal = _seal_of(row)


@event.listens_for(KeyedSealModel, "after_insert", propagate=True)
def _seal_numbered_row(_mapper: Mapper[Any], connection: Connection, row: KeyedSealModel) -> None:
    """Seal a new row whose seal includes the number that the database just assigned."""
    if row.seal:
        return
    seal, table = _seal_of(row), table_of(type(row))
    connection.execute(update(table).where(table.c.id == row.id).values(seal=seal))
    set_committed_value(row, "seal", seal)


def _seal_of(row: KeyedSealModel) -> str:
    return compute_row_seal(find_keys_of_session(object_session(row)), type(row), _values_of(row))


def _values_of(row: KeyedSealModel) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__sealed__}


@event.listens_for(KeyedSealModel, "before_update", propagate=True)
def _seal_changed_row(_mapper: Mapper[Any], connection: Connection, row: KeyedSealModel) -> None:
    """Seal a changed row, based on its locked values in the database plus the changes.

    A forged row remains forged.
    """
    state = inspect(row)
    changed = {name for name in row.__sealed__ if state.attrs[name].history.has_changes()}
    if not changed:
        return
    table, keys = table_of(type(row)), find_keys_of_session(object_session(row))
    query = select(*_sealed_columns(type(row))).where(table.c.id == row.id)
    stored_row = connection.execute(query.with_for_update(of=table)).mappings().one_or_none()
    if stored_row is not None and _matches(keys, type(row), stored_row, stored_row["seal"]):
        row.seal = compute_row_seal(keys, type(row), {**stored_row, **{name: getattr(row, name) for name in changed}})


def _sealed_columns(model: type[KeyedSealModel]) -> list[ColumnElement[Any]]:
    table = table_of(model)
    return [table.c[name] for name in dict.fromkeys(("id", *model.__sealed__, "seal"))]


def find_forged_rows(session: Session, keys: KeyRing) -> dict[type[KeyedSealModel], list[int]]:
    """Return the numbers of the rows that have no valid seal, by model."""
    forged = {}
    for model in list_keyed_seal_models():
        rows = session.execute(select(*_sealed_columns(model)), execution_options={"yield_per": BATCH_SIZE})
        numbers = [row["id"] for row in rows.mappings() if not _matches(keys, model, row, row["seal"])]
        if numbers:
            forged[model] = numbers
    return forged


def seal_row_as_is(session: Session, row: KeyedSealModel) -> None:
    """Seal a row as it is, without checking it first.

    Use this for rows that were just changed to grant nothing.
    """
    row.seal = compute_row_seal(find_keys_of_session(session), type(row), _values_of(row))


def reseal_rows_with_current_key(session: Session, keys: KeyRing) -> int:
    """Reseal the genuine rows that have an older key's seal with the current key, and return their number."""
    current = f"{keys.current('access').id}:"
    return _seal_rows(
        session,
        keys,
        lambda model, row: not row["seal"].startswith(current) and _matches(keys, model, row, row["seal"]),
    )


def _seal_rows(
    session: Session,
    keys: KeyRing,
    chosen: Callable[[type[KeyedSealModel], _Values], bool],
) -> int:
    sealed = 0
    for model in list_keyed_seal_models():
        for batch in _batches(session, model):
            rows = [row for row in batch if chosen(model, row)]
            if rows:
                _write_seals(session, model, [(row, compute_row_seal(keys, model, row)) for row in rows])
                sealed += len(rows)
    return sealed


def _batches(session: Session, model: type[KeyedSealModel]) -> Iterator[list[_Values]]:
    table, after = table_of(model), 0  # the database numbers rows from 1
    query = select(*_sealed_columns(model)).order_by(table.c.id).limit(BATCH_SIZE).with_for_update()
    while batch := session.execute(query.where(table.c.id > after)).mappings().all():
        yield list(batch)
        after = batch[-1]["id"]


def _write_seals(
    session: Session,
    model: type[KeyedSealModel],
    seals: list[tuple[_Values, str]],
) -> None:
    table = table_of(model)
    statement = update(table).where(table.c.id == bindparam("of_row")).values(seal=bindparam("new_seal"))
    session.connection().execute(statement, [{"of_row": row["id"], "new_seal": seal} for row, seal in seals])
