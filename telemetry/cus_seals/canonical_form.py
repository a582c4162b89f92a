"""The written form of a day of evidence, by which seals are computed (ruling E5).

A form has a version. A seal keeps the version by which it was made, and is verified by that version
for ever: a form is never changed. A new column of evidence comes with a new version.

The text of one kind of facts of a day is a header and then each row as PostgreSQL's COPY writes it:
columns by tabs, rows by line feeds, both escaped within values; NULL is `\\N`, an empty text is empty.
So no two different days have the same text. Moments are seconds since 1970 with six decimals, JSON
is as `jsonb` writes it. Rows are ordered by (created_at, id).
"""

import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

from django.db.backends.utils import CursorWrapper
from psycopg import sql

from telemetry.cus_seals.models import CusEvidenceSeal

_MOMENTS = frozenset({"admitted_at", "created_at", "occurred_at", "usage_created_at"})
_TOKENS = (
    "tokens_in tokens_out tokens_cached tokens_cache_write tokens_cache_write_1h tokens_reasoning"
    " tokens_audio_in tokens_audio_out tokens_image_in tokens_total"
)


@dataclass(frozen=True)
class Kind:
    """A kind of facts: its name in seals, its table, and the columns that a form covers."""

    name: str
    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class CanonicalForm:
    """A version of the written form: the kinds of facts, in order."""

    version: int
    kinds: tuple[Kind, ...]


@dataclass(frozen=True)
class Content:
    """What a day has of one kind of facts: how many, and the keyed SHA-256 of their text in hex."""

    count: int
    digest: str


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FORM_1 = CanonicalForm(
    1,
    (
        Kind(
            "rows",
            "cus_llm_usage",
            _names(
                "id tenant_id integration_id session_id agent_id call_id provider model"
                f" model_requested host region operation stream {_TOKENS} service_tier billed_units"
                " turns cost_cents cost_microcents counted_cents pricing pricing_version price_id"
                " unpriced_units reported_pricing_version provider_cost_microcents latency_ms"
                " policy_result error_code error_message metadata response_id provider_request_id"
                " provider_project provider_key_hint end_user tags flags sent_timestamp process_id"
                " sequence lease_id degraded estimate_cents estimate_microcents estimate_tokens"
                " provisional_cents provisional_microcents provisional_tokens decision admitted_at"
                " occurred_at created_at"
            ),
        ),
        Kind(
            "settlements",
            "cus_usage_settlements",
            _names(
                "id tenant_id integration_id usage_id usage_created_at call_id response_id model"
                f" {_TOKENS} service_tier billed_units turns cost_cents cost_microcents"
                " counted_cents pricing pricing_version price_id unpriced_units"
                " reported_pricing_version provider_cost_microcents flags process_id sequence"
                " occurred_at created_at"
            ),
        ),
        Kind(
            "adjustments",
            "cus_cost_adjustments",
            _names(
                "id tenant_id integration_id usage_id usage_created_at number old_price_id"
                " new_price_id old_version new_version difference_microcents occurred_at created_at"
            ),
        ),
    ),
)
# Every version that a seal may have been made by.
FORMS = {form.version: form for form in (_FORM_1,)}
NEWEST = 1


def start_of(day: date) -> datetime:
    """The first moment of a day, in UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


def contents_of(cursor: CursorWrapper, seal: CusEvidenceSeal, key: bytes) -> dict[str, Content]:
    """Read what a seal's tenant received on its day, by kind of facts, in the seal's form.

    Many tenants receive nothing on most days: one look tells which kinds there are to read. Raises
    DatabaseError.
    """
    kinds = FORMS[seal.form].kinds
    cursor.execute(_looks(kinds, seal))
    return {
        kind.name: content_of(cursor, seal, kind, key) if is_any else _content(seal, kind, key, ())
        for kind, is_any in zip(kinds, cursor.fetchone(), strict=True)
    }


def content_of(cursor: CursorWrapper, seal: CusEvidenceSeal, kind: Kind, key: bytes) -> Content:
    """Read the facts of one kind that a seal's tenant received on its day, in the seal's form.

    Rows are streamed, so that a day of any size takes no more memory than its longest row. Raises
    DatabaseError.
    """
    return _content(seal, kind, key, _copied(cursor, _query(kind, seal)))


def _content(seal: CusEvidenceSeal, kind: Kind, key: bytes, blocks: Iterable[Any]) -> Content:
    header = [seal.form, kind.name, str(seal.tenant_id), seal.day.isoformat()]
    digest = hmac.new(key, json.dumps(header).encode() + b"\n", sha256)
    count = 0
    for block in blocks:
        digest.update(block)
        # Line feeds within values are escaped, so each ends a row.
        count += bytes(block).count(b"\n")
    return Content(count, digest.hexdigest())


def _copied(cursor: CursorWrapper, query: sql.Composed) -> Iterator[Any]:
    with cursor.db.wrap_database_errors, cursor.copy(query) as blocks:
        yield from blocks


def _looks(kinds: tuple[Kind, ...], seal: CusEvidenceSeal) -> sql.Composed:
    """Whether there are facts of each kind."""
    look = sql.SQL("EXISTS (SELECT FROM {} WHERE {})")
    looks = (look.format(sql.Identifier(kind.table), _of_day(seal)) for kind in kinds)
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(looks))


def _query(kind: Kind, seal: CusEvidenceSeal) -> sql.Composed:
    return sql.SQL(
        "COPY (SELECT {columns} FROM {table} WHERE {of_day} ORDER BY created_at, id)"
        " TO STDOUT (FORMAT text, ENCODING 'UTF8')"
    ).format(
        columns=sql.SQL(", ").join(map(_written, kind.columns)),
        table=sql.Identifier(kind.table),
        of_day=_of_day(seal),
    )


def _of_day(seal: CusEvidenceSeal) -> sql.Composed:
    return sql.SQL("tenant_id = {} AND created_at >= {} AND created_at < {}").format(
        sql.Literal(str(seal.tenant_id)),
        sql.Literal(start_of(seal.day).isoformat()),
        sql.Literal(start_of(seal.day + timedelta(days=1)).isoformat()),
    )


def _written(column: str) -> sql.Composable:
    name = sql.Identifier(column)
    # The text of a moment would depend on the session's zone.
    return sql.SQL("extract(epoch FROM {})").format(name) if column in _MOMENTS else name
