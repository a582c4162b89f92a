"""The two doors through which SDKs report (§4.2, rulings E1 to E7)."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusCallLedger, CusLifetimeTotals, CusLLMUsage
from tests.cus_factories import BATCH, USAGE, SdkClient, make_integration, make_tenant, record

pytestmark = pytest.mark.django_db


def test_a_call_is_stored_as_it_was_reported(sdk: SdkClient, integration: CusIntegration) -> None:
    sent = record(
        session_id="s-1",
        agent_id="agent",
        tokens_cached=200,
        tokens_reasoning=100,
        metadata={"team": "search"},
        stream=True,
        operation="chat",
        process_id="p",
        sequence=7,
    )

    response = sdk.report(sent)

    assert response.status_code == 201
    row = CusLLMUsage.objects.get()
    assert response.json() == {"status": "accepted", "id": str(row.id), "call_id": sent["call_id"]}
    assert (row.tenant_id, row.integration_id) == (integration.tenant_id, integration.id)
    for name in sent.keys() - {"timestamp"}:
        assert getattr(row, name) == sent[name], name
    assert row.occurred_at == datetime.fromisoformat(sent["timestamp"])
    assert row.provider == "openai"
    assert row.flags == []


def test_the_exact_cost_is_the_servers_own(sdk: SdkClient) -> None:
    sdk.report(record(model="gpt-4o-mini", tokens_in=200, tokens_out=50, cost_cents=1))

    row = CusLLMUsage.objects.get()
    assert row.cost_cents == 1
    assert row.cost_microcents == 200 * 15 + 50 * 60
    assert (row.pricing, row.pricing_version) == ("table", "2026-11-28")


def test_a_cost_that_was_not_reported_is_filled_in(sdk: SdkClient) -> None:
    sdk.report(record(cost_cents=None, model="claude-opus-4"))

    row = CusLLMUsage.objects.get()
    assert (row.cost_cents, row.cost_microcents) == (6, 5_250_000)
    assert row.flags == ["cost_filled"]


def test_a_reported_cost_that_is_not_ours_is_kept_and_flagged(sdk: SdkClient) -> None:
    sdk.report(record(cost_cents=75))

    row = CusLLMUsage.objects.get()
    assert (row.cost_cents, row.flags) == (75, ["cost_mismatch"])


def test_a_model_without_a_price_is_stored_as_unpriced(sdk: SdkClient) -> None:
    sdk.report(record(model="nobody-knows", cost_cents=None))

    row = CusLLMUsage.objects.get()
    assert (row.pricing, row.cost_cents, row.cost_microcents) == ("unknown", 0, 0)


def test_kinds_of_tokens_that_do_not_add_up_are_stored_and_flagged(sdk: SdkClient) -> None:
    sdk.report(record(tokens_in=10, tokens_cached=11, cost_cents=None))
    sdk.report(record(tokens_in=10, tokens_out=5, tokens_total=16, cost_cents=None))

    for row in CusLLMUsage.objects.all():
        assert "tokens_mismatch" in row.flags


def test_the_same_report_again_is_a_duplicate_and_stored_once(sdk: SdkClient) -> None:
    sent = record()
    first = sdk.report(sent).json()

    again = sdk.report(sent)

    assert again.status_code == 200
    assert again.json() == {"status": "duplicate", "id": first["id"], "call_id": sent["call_id"]}
    assert CusLLMUsage.objects.count() == 1


def test_a_replay_may_differ_in_what_does_not_make_the_fact(sdk: SdkClient) -> None:
    sent = record(sequence=1, process_id="a", metadata={"try": 1})
    sdk.report(sent)

    again = sent | {"sequence": 2, "process_id": "b", "metadata": {}, "provider": "openai"}

    assert sdk.report(again).status_code == 200


def test_one_moment_spelled_in_two_zones_is_one_fact(sdk: SdkClient) -> None:
    moment = datetime.now(UTC).replace(microsecond=0)
    sent = record(timestamp=moment.isoformat())
    sdk.report(sent)

    spelled = moment.isoformat().replace("+00:00", "Z")

    assert sdk.report(sent | {"timestamp": spelled}).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "gpt-4o-mini"),
        ("tokens_in", 1001),
        ("tokens_out", 501),
        ("tokens_cached", 5),
        ("cost_cents", 2),
        ("latency_ms", 251),
        ("policy_result", "warned"),
        ("error_code", "timeout"),
        ("provider", "custom"),
        ("timestamp", "2026-01-01T00:00:00Z"),
    ],
)
def test_another_fact_under_a_known_call_id_is_a_conflict(
    sdk: SdkClient, field: str, value: object
) -> None:
    sent = record()
    sdk.report(sent)

    response = sdk.report(sent | {field: value})

    assert response.status_code == 409
    (error,) = response.json()["errors"]
    assert (error["code"], error["attr"]) == ("call_id_conflict", field)
    assert CusLLMUsage.objects.get().tokens_in == 1000


def test_a_conflict_names_every_field_that_differs(sdk: SdkClient) -> None:
    sent = record()
    sdk.report(sent)

    response = sdk.report(sent | {"tokens_in": 1, "tokens_out": 1})

    assert [error["attr"] for error in response.json()["errors"]] == ["tokens_in", "tokens_out"]


def test_each_record_of_a_batch_stands_for_itself(sdk: SdkClient) -> None:
    known = record()
    sdk.report(known)
    good, twice = record(), record()
    bad = record(tokens_in="5")

    response = sdk.report_batch(
        good, known, known | {"tokens_out": 9}, bad, twice, twice, twice | {"latency_ms": 1}, 5
    )

    assert response.status_code == 200
    body = response.json()
    counts = {
        name: body[name] for name in ("total", "accepted", "duplicates", "conflicts", "rejected")
    }
    assert counts == {"total": 8, "accepted": 2, "duplicates": 2, "conflicts": 2, "rejected": 2}
    assert [(r["index"], r["status"], r["attr"]) for r in body["results"]] == [
        (1, "duplicate", None),
        (2, "conflict", "tokens_out"),
        (3, "rejected", "tokens_in"),
        (5, "duplicate", None),
        (6, "conflict", "latency_ms"),
        (7, "rejected", None),
    ]
    assert body["results"][2]["call_id"] == bad["call_id"]
    assert "integer" in body["results"][2]["detail"]
    stored = set(CusLLMUsage.objects.values_list("call_id", flat=True))
    assert stored == {known["call_id"], good["call_id"], twice["call_id"]}


def test_rows_ledger_and_totals_agree(sdk: SdkClient, integration: CusIntegration) -> None:
    sdk.report_batch(
        *(record() for _ in range(5)),
        record(error_code="timeout"),
        record(tokens_in=0, tokens_out=0, cost_cents=0, policy_result="blocked"),
        record(model="nobody-knows", cost_cents=None),
    )

    totals = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    assert CusCallLedger.objects.count() == CusLLMUsage.objects.count() == 8
    assert sum(t.calls for t in totals) == 7
    assert sum(t.errors for t in totals) == 1
    assert sum(t.blocked for t in totals) == 1
    assert sum(t.unpriced for t in totals) == 1
    assert sum(t.tokens_in for t in totals) == sum(r.tokens_in for r in CusLLMUsage.objects.all())
    assert sum(t.cost_microcents for t in totals) == 6 * 750_000


BAD_FIELDS = [
    ("call_id", ""),
    ("call_id", "a b"),
    ("call_id", "x" * 101),
    ("call_id", "a\n"),
    ("call_id", "ü"),
    ("call_id", 5),
    ("call_id", None),
    ("model", ""),
    ("model", "m" * 101),
    ("model", "a\x00b"),
    ("model", None),
    ("tokens_in", None),
    ("tokens_in", -1),
    ("tokens_in", 2**31),
    ("tokens_in", 2**70),
    ("tokens_in", True),
    ("tokens_in", 1.0),
    ("tokens_in", "5"),
    ("tokens_out", "٥"),
    ("tokens_cached", -1),
    ("cost_cents", 0.5),
    ("cost_cents", -1),
    ("integration_id", "not a uuid"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_record_that_cannot_be_counted_is_refused_by_name(
    sdk: SdkClient, field: str, value: object
) -> None:
    response = sdk.report(record(**{field: value}))

    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["attr"] == field
    assert error["code"] in ("invalid", "required")
    assert not CusLLMUsage.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "flag", "stored"),
    [
        ("session_id", "s" * 101, "cut:session_id", "s" * 100),
        ("agent_id", "a\x00b", "cut:agent_id", "ab"),
        ("agent_id", "a\ud800b", "cut:agent_id", "ab"),
        ("error_message", "e" * 5000, "cut:error_message", "e" * 1000),
        ("latency_ms", -5, "dropped:latency_ms", None),
        ("policy_result", "maybe", "dropped:policy_result", "allowed"),
        ("operation", "dance", "dropped:operation", "other"),
        ("metadata", {"a": "b\x00"}, "dropped:metadata", {}),
        ("metadata", {"a": "x" * 17_000}, "dropped:metadata", {}),
        ("metadata", {"a": [[[[[[[[1]]]]]]]]}, "dropped:metadata", {}),
        ("metadata", "text", "dropped:metadata", {}),
        ("sequence", 2**64, "dropped:sequence", None),
        ("lease_id", "nonsense", "dropped:lease_id", None),
        ("provider", 5, "dropped:provider", "openai"),
    ],
)
def test_bad_decoration_is_cut_or_dropped_and_the_money_kept(
    sdk: SdkClient, field: str, value: object, flag: str, stored: object
) -> None:
    response = sdk.report(json.dumps(record(**{field: value})))

    assert response.status_code == 201
    row = CusLLMUsage.objects.get()
    assert row.flags == [flag]
    assert getattr(row, field) == stored
    assert row.cost_microcents == 750_000


def _raw(**fields: str) -> str:
    """A record as JSON text, with some fields given as JSON text themselves."""
    text = json.dumps(record())[:-1]
    return text + "".join(f', "{name}": {value}' for name, value in fields.items()) + "}"


HOSTILE_DECORATION = {
    "deep metadata": ("metadata", '{"a": ' + "[" * 600 + "]" * 600 + "}"),
    "very deep metadata": ("metadata", '{"a": ' + "[" * 10_000 + "]" * 10_000 + "}"),
    "deep nesting in a field nobody knows": ("extra", "[" * 5_000 + "]" * 5_000),
    "brackets in a text": ("error_message", '"' + "[{" * 3_000 + '"'),
    "an endless number": ("sequence", "9" * 6_000),
    "an endless number in metadata": ("metadata", '{"a": ' + "9" * 6_000 + "}"),
    "infinity": ("metadata", '{"a": 1e400}'),
    "no number": ("metadata", '{"a": NaN}'),
    "a lone surrogate": ("error_code", '"\\ud800"'),
    "a lone surrogate as a key": ("metadata", '{"\\udfff": 1}'),
    "a NUL": ("agent_id", '"\\u0000"'),
}


@pytest.mark.parametrize("case", HOSTILE_DECORATION)
def test_nothing_in_a_records_decoration_loses_its_money_or_the_others(
    sdk: SdkClient, case: str
) -> None:
    name, value = HOSTILE_DECORATION[case]
    hostile, good = _raw(**{name: value}), json.dumps(record())

    body = sdk.client.post(
        BATCH, f'{{"records": [{good}, {hostile}]}}', content_type="application/json"
    ).json()

    assert (body["accepted"], body["rejected"]) == (2, 0), body
    assert (
        sdk.client.post(USAGE, _raw(**{name: value}), content_type="application/json").status_code
        == 201
    )
    assert CusLLMUsage.objects.filter(cost_microcents=750_000).count() == 3


def test_bytes_that_are_no_utf_8_cost_a_text_and_nothing_else(sdk: SdkClient) -> None:
    raw = _raw(error_message='"caf\xe9"').encode("latin-1")

    assert sdk.client.post(USAGE, raw, content_type="application/json").status_code == 201
    assert CusLLMUsage.objects.get().error_message == "caf\ufffd"


@pytest.mark.parametrize("call_id", ["\\ud800", "a\\u0000", "[" * 200])
def test_a_call_id_that_cannot_be_said_does_not_hide_what_became_of_the_others(
    sdk: SdkClient, call_id: str
) -> None:
    bad = f'{{"call_id": "{call_id}", "model": "m", "tokens_in": 1, "tokens_out": 1}}'
    text = f'{{"records": [{json.dumps(record())}, {bad}]}}'

    response = sdk.client.post(BATCH, text, content_type="application/json")

    assert response.status_code == 200
    body = response.json()
    assert (body["accepted"], body["rejected"]) == (1, 1)
    assert body["results"][0]["attr"] == "call_id"


def test_an_empty_provider_is_none_at_all(sdk: SdkClient) -> None:
    sent = record()
    sdk.report(sent)

    assert sdk.report(sent | {"provider": ""}).status_code == 200


def test_a_key_in_an_error_code_is_masked_too(sdk: SdkClient) -> None:
    sent = record(error_code="sk-abcdefghijkl")

    assert sdk.report(sent).status_code == 201
    assert CusLLMUsage.objects.get().error_code == "[masked]"
    assert sdk.report(sent).status_code == 200


def test_a_chunked_body_is_asked_for_with_its_length(sdk: SdkClient) -> None:
    response = sdk.client.generic(
        "POST", USAGE, content_type="application/json", HTTP_TRANSFER_ENCODING="chunked"
    )

    assert response.status_code == 411


@pytest.mark.parametrize(
    "timestamp",
    [
        (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        (datetime.now(UTC) - timedelta(days=36)).isoformat(),
        datetime.now(UTC).replace(tzinfo=None).isoformat(),
        "yesterday",
        None,
    ],
    ids=["ahead", "too old", "without a zone", "no time at all", "missing"],
)
def test_a_clock_that_is_wrong_does_not_lose_the_money(
    sdk: SdkClient, timestamp: str | None
) -> None:
    before = timezone.now()
    sent = record(timestamp=timestamp)

    assert sdk.report(sent).status_code == 201

    row = CusLLMUsage.objects.get()
    assert row.flags == ["clock_skew"]
    assert before <= row.occurred_at <= timezone.now()
    assert row.sent_timestamp == timestamp
    assert sdk.report(sent).status_code == 200


def test_unknown_fields_of_a_newer_sdk_are_ignored(sdk: SdkClient) -> None:
    assert sdk.report(record(from_the_future={"a": 1})).status_code == 201


def test_what_looks_like_a_key_in_an_error_message_is_masked(sdk: SdkClient) -> None:
    sdk.report(record(error_code="401", error_message="Incorrect API key: sk-proj-abcdef123456"))

    message = CusLLMUsage.objects.get().error_message
    assert message is not None
    assert "abcdef" not in message


_KEY = "sk-proj-abcdef1234567890"


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("metadata", {"a": _KEY}, {"a": "[masked]"}),
        ("metadata", {"a": [{"b": f"with {_KEY}!"}]}, {"a": [{"b": "with [masked]!"}]}),
        ("metadata", {_KEY: 1, f"{_KEY}0": 2}, {"[masked]": 1, "[masked] 2": 2}),
        ("metadata", {"api_key": "letmein", "keys": 3}, {"api_key": "[masked]", "keys": 3}),
        ("metadata", {"a": "api_key=letmein"}, {"a": "[masked]"}),
        ("metadata", {"a": "Bearer abc.def-ghi"}, {"a": "[masked]"}),
        ("metadata", {"region": "sk", "task": "ask-me", "n": 1.5}, None),
        ("decision", {"reasons": [{"message": _KEY}]}, {"reasons": [{"message": "[masked]"}]}),
        ("billed_units", {_KEY: 1}, {"[masked]": 1}),
        ("session_id", _KEY, "[masked]"),
        ("session_id", "sk-9876", None),
        ("agent_id", f"agent {_KEY}", "agent [masked]"),
        ("agent_id", "sk-SK-bot", None),
        ("service_tier", _KEY, "[masked]"),
        ("error_message", f"no {_KEY}", "no [masked]"),
    ],
)
def test_a_key_is_masked_wherever_a_program_writes_freely(
    sdk: SdkClient, field: str, sent: Any, stored: Any
) -> None:
    row = record(**{field: sent})

    assert sdk.report(row).status_code == 201

    assert getattr(CusLLMUsage.objects.get(), field) == (sent if stored is None else stored)
    assert sdk.report(row).status_code == 200


def test_a_key_whose_letters_are_escaped_is_masked(sdk: SdkClient) -> None:
    body = json.dumps(record(metadata={"a": _KEY})).replace("sk-", "\\u0073k-")

    assert sdk.client.post(USAGE, body, content_type="application/json").status_code == 201

    assert CusLLMUsage.objects.get().metadata == {"a": "[masked]"}


def test_a_key_in_place_of_a_timestamp_is_masked(sdk: SdkClient) -> None:
    sent = record(timestamp=_KEY)

    assert sdk.report(sent).status_code == 201

    assert CusLLMUsage.objects.get().sent_timestamp == "[masked]"
    assert sdk.report(sent).status_code == 200


def test_what_calls_are_found_and_priced_by_stays_as_it_was_sent(sdk: SdkClient) -> None:
    names = {"call_id": f"{_KEY}-1", "model": "ft:gpt-4o:sk-telecom::abc", "process_id": _KEY}
    sdk.report(record(**names))

    row = CusLLMUsage.objects.get()
    assert {name: getattr(row, name) for name in names} == names


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"records": []}',
        '{"records": 5}',
        '{"records": [' + "{}," * 1000 + "{}]}",
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(sdk: SdkClient, body: str) -> None:
    response = sdk.client.post(BATCH, body, content_type="application/json")

    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    assert response.json()["errors"][0]["detail"]


def test_a_body_over_four_mebibytes_is_refused(sdk: SdkClient) -> None:
    body = json.dumps({"records": [record(metadata={"a": "x" * (4 * 1024 * 1024)})]})

    response = sdk.client.post(BATCH, body, content_type="application/json")

    assert response.status_code == 413
    assert response.json()["errors"][0]["code"] == "request_too_large"


def test_another_media_type_is_refused(sdk: SdkClient) -> None:
    assert sdk.client.post(USAGE, "a=b", content_type="text/plain").status_code == 415


def test_a_key_speaks_for_its_own_integration_alone(sdk: SdkClient, tenant: CusTenant) -> None:
    sibling = make_integration(tenant)
    sent = record(integration_id=str(sibling.id))

    single = sdk.report(sent)
    batch = sdk.report_batch(sent, record()).json()

    assert single.status_code == 403
    assert single.json()["errors"][0]["attr"] == "integration_id"
    assert (batch["accepted"], batch["rejected"]) == (1, 1)
    assert not CusLLMUsage.objects.filter(integration_id=sibling.id).exists()


def test_a_key_stitched_together_from_two_tenants_opens_neither(sdk: SdkClient) -> None:
    other = make_integration(make_tenant())
    secret = sdk.key.split(":")[2]
    stitched = SdkClient(f"{other.tenant_id}:{other.id}:{secret}")

    assert stitched.report(record()).status_code == 401
    assert not CusLLMUsage.objects.exists()


@pytest.mark.parametrize(
    "key",
    ["", "a:b:c", "nonsense", "::", f"x:y:aosk_{'0' * 49}", "x" * 10_000],
)
def test_who_has_no_key_is_told_so(db: None, key: str) -> None:
    response = Client(headers={"X-CUS-Integration-Key": key}).post(
        USAGE, record(), content_type="application/json"
    )

    assert response.status_code == 401
    assert response["Content-Type"] == "application/json"
    assert "WWW-Authenticate" in response.headers


def test_a_key_may_come_as_a_bearer_token(integration: CusIntegration) -> None:
    _, key = issue_sdk_key(integration)
    client = Client(headers={"Authorization": f"Bearer {key}"})

    assert client.post(USAGE, record(), content_type="application/json").status_code == 201


def test_a_revoked_an_expired_and_an_unknown_key_are_told_alike_that_they_are_not_valid(
    integration: CusIntegration,
) -> None:
    revoked, expired = (SdkClient.of(integration) for _ in range(2))
    CusSdkKey.objects.filter(hint=revoked.key[-4:]).update(revoked_at=timezone.now())
    CusSdkKey.objects.filter(hint=expired.key[-4:]).update(expires_at=timezone.now())
    with transaction.atomic():
        unknown = SdkClient.of(integration)
        transaction.set_rollback(True)

    answers = [client.report(record()) for client in (revoked, expired, unknown)]

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert len({answer.content for answer in answers}) == 1
    (error,) = answers[0].json()["errors"]
    assert error["code"] == "authentication_failed"
    assert error["detail"].startswith("This SDK key is not valid here")


def test_facts_of_an_integration_that_is_not_enabled_are_taken(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(status="disabled")

    assert sdk.report(record()).status_code == 201


def test_an_unknown_path_of_the_api_answers_in_json(client: Client) -> None:
    response = client.get("/api/v1/cus/nowhere")

    assert response.status_code == 404
    assert response.json()["errors"][0]["code"] == "not_found"


def test_another_method_answers_in_json(sdk: SdkClient) -> None:
    response = sdk.client.get(BATCH)

    assert response.status_code == 405
    assert response.json()["errors"][0]["code"] == "method_not_allowed"


@pytest.mark.django_db(transaction=True)
def test_without_a_database_a_sender_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sdk = SdkClient.of(make_integration())
    sdk.client.raise_request_exception = False
    connection.close()
    with monkeypatch.context() as away:
        away.setitem(connection.settings_dict, "OPTIONS", {"host": str(tmp_path)})
        response = sdk.report(record())

    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert response.json()["errors"][0]["code"] == "unavailable"
    assert sdk.report(record()).status_code == 201


def _gzip(sdk: SdkClient, body: bytes, encoding: str = "gzip") -> Any:
    return sdk.client.generic(
        "POST", BATCH, body, content_type="application/json", HTTP_CONTENT_ENCODING=encoding
    )


def test_a_body_may_come_as_gzip(sdk: SdkClient) -> None:
    plain = json.dumps({"records": [record() for _ in range(20)]}).encode()

    response = _gzip(sdk, gzip.compress(plain))

    assert response.json()["accepted"] == 20


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * 50_000_000), "gzip", 413),
        (gzip.compress(gzip.compress(b"x" * 100)), "gzip", 400),
        (gzip.compress(b'{"records": []}')[:-9], "gzip", 400),
        (gzip.compress(b"{}") + b"more", "gzip", 400),
        (b"no gzip at all", "gzip", 400),
        (b"", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
    ids=["bomb", "twice", "cut", "more behind", "none", "empty", "brotli", "two encodings"],
)
def test_a_packed_body_that_is_no_good_is_refused_within_bounds(
    sdk: SdkClient, body: bytes, encoding: str, status: int
) -> None:
    response = _gzip(sdk, body, encoding)

    assert response.status_code == status
    assert response.json()["errors"][0]["detail"]


def test_a_key_that_asks_too_often_is_told_when_to_come_back(
    sdk: SdkClient, integration: CusIntegration, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CUS_SDK_REQUESTS_PER_SECOND = 0.5
    monkeypatch.setattr("integrations.cus_keys.throttle.time.monotonic", lambda: 123.0)

    statuses = [sdk.report(record()).status_code for _ in range(6)]
    refused = sdk.report(record())

    assert statuses == [201] * 5 + [429]
    assert int(refused["Retry-After"]) == 7
    assert refused.json()["errors"][0]["code"] == "throttled"
    assert SdkClient.of(integration).report(record()).status_code == 201


def test_a_program_is_given_no_cookie_and_no_page_policy_but_the_security_headers(
    sdk: SdkClient,
) -> None:
    response = sdk.report(record())

    assert "Set-Cookie" not in response.headers
    assert "Content-Security-Policy" not in response.headers
    assert response["X-Content-Type-Options"] == "nosniff"


def test_in_production_a_program_is_sent_to_https_too(sdk: SdkClient, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True

    assert sdk.report(record()).status_code == 301
    assert not CusLLMUsage.objects.exists()
