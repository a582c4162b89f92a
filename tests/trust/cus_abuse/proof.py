"""A session that was left open tries to change access: second factor, credential, keys, members."""

import base64
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from os import environ
from typing import Any

from tests.e2e.cus_served import ROOT
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.people import Person, codes_of, totp
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_door import Answer

_SEED = re.compile(r"\b((?:[A-Z2-7]{4} ){7}[A-Z2-7]{4})\b")
_CODES = re.compile(r'id="recovery-codes"')
_SET_UP = "/admin/second-factor/setup/"
_WANTED = "proof_required"


def old_session(product: AttackedProduct, _size: Size) -> Outcome:
    """A session verified ten minutes ago: second factor, credential, keys, tokens, members."""
    tenant = product.new_tenant()
    account = tenant["totp"]
    person = Person(product.port, account).sign_in()
    key_id = _first_key(person, tenant)
    age_sessions(product)
    # Signed in still: else nothing below would show anything.
    signed_in = person.call("GET", "/integrations").status == 200
    findings = [] if signed_in else ["the session ended, so nothing was attacked"]
    replaced = _replaces_second_factor(product, person, account)
    if replaced:
        findings.append(replaced)
    answers = {
        name: attempt(person) for name, attempt in _changes(tenant, key_id).items()
    }  # fmt: skip
    passed = [name for name, answer in answers.items() if answer.status < 300]
    findings += [f"{name} went through" for name in passed]
    findings += [
        f"{name} was answered {answer.status} {codes_of(answer)}, not {_WANTED}"
        for name, answer in answers.items()
        if name not in passed and _WANTED not in codes_of(answer)
    ]
    figures = (
        f"second factor {'replaced, new recovery codes shown' if replaced else 'kept'};"
        f" {len(passed)} of {len(answers)} other changes went through"
        f"{': ' + ', '.join(passed) if passed else ''}"
    )
    return Outcome(figures, findings)


def age_sessions(product: AttackedProduct) -> None:
    """As if all that sessions remember had happened ten minutes earlier."""
    subprocess.run(
        [sys.executable, "-m", "tests.trust.cus_abuse.age_sessions"],
        cwd=ROOT,
        env=environ | product.environment | {"CUS_SUPERUSER_URL": product.superuser_url()},
        check=True,
    )


def _replaces_second_factor(
    product: AttackedProduct, person: Person, account: Mapping[str, Any]
) -> str | None:
    """What the session could do about the second factor; None if nothing."""
    before = _devices(product, account)
    page = person.see(_SET_UP)
    text = page.body.decode(errors="replace")
    found = _SEED.search(text)
    if page.status == 200 and found:
        seed = base64.b32decode(found[1].replace(" ", ""))
        text = person.submit(_SET_UP, {"code": totp(seed)}).body.decode(errors="replace")
    if _CODES.search(text):
        return "new recovery codes were shown without password or code"
    if _devices(product, account) != before:
        return "the second factor was replaced without password or code"
    return None


def _devices(product: AttackedProduct, account: Mapping[str, Any]) -> list[Any]:
    return product.database.execute(
        "SELECT id FROM otp_totp_totpdevice WHERE user_id::text = %s AND confirmed",
        [account["user_id"]],
    ).fetchall()


def _first_key(person: Person, tenant: Mapping[str, Any]) -> str:
    found = person.call("GET", f"/integrations/{_integration(tenant)}/keys")
    return str(found.json()["results"][0]["id"])


def _integration(tenant: Mapping[str, Any]) -> str:
    """One that has a key and room for another."""
    return str(tenant["keys"][0].split(":")[1])


def _changes(tenant: Mapping[str, Any], key_id: str) -> dict[str, Callable[[Person], Answer]]:
    """What a thief of the session would do, by name."""
    path = f"/integrations/{_integration(tenant)}"
    credential = {"credential": {"api_key": "sk-thief-0123456789"}}
    invitation = {"email": "thief@example.com", "role": "admin"}
    return {
        "a new token": lambda person: person.call("POST", "/tokens", {"name": "Thief"}),
        "a new SDK key": lambda person: person.call("POST", f"{path}/keys", {"label": "Thief"}),
        "revoking a key": lambda person: person.call("DELETE", f"{path}/keys/{key_id}"),
        "another credential": lambda person: person.call("PATCH", path, credential),
        "an invitation": lambda person: person.call("POST", "/members", invitation),
    }
