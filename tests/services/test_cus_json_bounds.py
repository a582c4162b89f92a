"""JSON of strangers costs no more than its length: no nesting, no open string, no endless list.

What would take longer takes minutes, so the time limit of the test is the assertion.
"""

import io
import json
from typing import Any

import pytest
from rest_framework.exceptions import APIException

from enforcement.cus_checks.requests import RequestRefused, decode_check, decode_checks
from integrations.cus_credentials.registry import parsed_credential
from integrations.cus_web.errors import CusError
from integrations.cus_web.json import CusJsonParser
from telemetry.cus_evidence.bodies import BodyUnreadable, read_batch
from telemetry.cus_evidence.records import RecordRefused, decode_record

pytestmark = pytest.mark.timeout(30)

HOSTILE = {
    "open lists": b"[" * 2_000_000,
    "open objects": b'{"a":' * 400_000,
    "closed lists": b"[" * 1_000_000 + b"]" * 1_000_000,
    "a deep record": b'{"records":[' + b"[" * 2_000_000,
    "lists side by side": b"[" + b"[]," * 1_000_000 + b"[]]",
    "numbers without end": b"[" + b"1," * 2_000_000 + b"1]",
    "an open string of quotes": b'{"records":["' + b'\\"' * 1_000_000,
    "an open string of backslashes": b'"' + b"\\" * 2_000_000,
    "quotes": b'"' * 2_000_000,
}
REFUSALS = (BodyUnreadable, RecordRefused, RequestRefused, APIException, CusError)


def _as_people_send(body: bytes) -> Any:
    return CusJsonParser().parse(io.BytesIO(body))


def _from_a_store(body: bytes) -> Any:
    return parsed_credential('{"api_key":' + body.decode())


@pytest.mark.parametrize(
    "door",
    [read_batch, decode_record, decode_check, decode_checks, _as_people_send, _from_a_store],
)
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_refused_at_once(door: Any, body: bytes) -> None:
    with pytest.raises(REFUSALS):
        door(body)


def test_a_batch_of_the_largest_size_is_read_though_one_record_is_deep() -> None:
    turns = [{"tokens_in": 1, "tokens_out": 1}] * 100
    good = json.dumps({"call_id": "x", "note": 'a "quoted" \\ [ { text', "turns": turns}).encode()
    deep = b'{"metadata":' + b"[" * 2_000 + b"]" * 2_000 + b"}"
    body = b'{"records":[' + deep + b"," + b",".join([good] * 999) + b"]}"

    records, _ = read_batch(body)

    assert len(records) == 1_000
    assert records[-1] == json.loads(good)
