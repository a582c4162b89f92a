"""A tenant admin makes things without end."""

import time
from collections.abc import Callable
from typing import Any

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.people import Person, codes_of
from tests.trust.cus_abuse.product import LOW_QUOTA, AttackedProduct
from tests.trust.cus_door import Answer

# Not `too_many_tokens`: the bound of 50 valid tokens does not stop a person who revokes them.
_WANTED = "quota_exceeded"
_MOST = 600
_MOST_SECONDS = 25.0
_FOREVER = "2030-01-01T00:00:00Z"
Make = Callable[[int], Answer]


def without_end(product: AttackedProduct, size: Size) -> Outcome:
    """Integrations, keys that are made and revoked, tokens, overrides, invitations.

    Where quotas are settings they are lowered, so that the attack has time to meet them.
    """
    tenant = product.new_tenant()
    person = Person(product.port, tenant["admin"]).sign_in()
    most, lines = size.of(_MOST, 2 * LOW_QUOTA), []
    findings: list[str] = []
    for name, make in _kinds(person, tenant).items():
        made, code = _make_until_refused(make, most, size.seconds(_MOST_SECONDS, _MOST_SECONDS))
        size.say(f"{name}: {made:,} made")
        lines.append(f"{made:,} {name}{f' ({code})' if code else ''}")
        if code != _WANTED:
            findings.append(f"{name}: {made:,} were made and then told {code or 'nothing'}")
    return Outcome(f"of {most:,} each, in 25 s at most: {', '.join(lines)}", findings)


def _make_until_refused(make: Make, most: int, seconds: float) -> tuple[int, str]:
    """How many were made in that time at most, and the code of what refused the next one."""
    over = time.monotonic() + seconds
    for number in range(most):
        if time.monotonic() > over:
            return number, ""
        answer = make(number)
        if answer.status >= 300:
            return number, " ".join(codes_of(answer)) or str(answer.status)
    return most, ""


def _kinds(person: Person, tenant: dict[str, Any]) -> dict[str, Make]:
    keys = f"/integrations/{tenant['integration_id']}/keys"

    def key(_number: int) -> Answer:
        made = person.call("POST", keys, {"label": "Flood"})
        if made.status == 201:
            person.call("DELETE", f"{keys}/{made.json()['id']}")
        return made

    # Integrations come last: each override raises the version of all that there are.
    return {
        "keys": key,
        "tokens": lambda number: person.call("POST", "/tokens", {"name": f"Flood {number}"}),
        "overrides": lambda number: person.call("POST", "/price-overrides", _override(number)),
        "invitations": lambda number: person.call(
            "POST", "/members", {"email": f"flood-{number}@example.com", "role": "member"}
        ),
        "integrations": lambda number: person.call("POST", "/integrations", _integration(number)),
    }


def _integration(number: int) -> dict[str, Any]:
    return {
        "name": f"Flood {number}",
        "provider_type": "openai",
        "credential": {"api_key": "sk-flood-0123456789abcdef"},
    }


def _override(number: int) -> dict[str, Any]:
    return {
        "model": f"flood-{number}",
        "prices": {"input": "1", "output": "2"},
        "valid_from": _FOREVER,
    }
