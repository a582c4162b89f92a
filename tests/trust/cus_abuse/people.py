"""A person at the console and the API, on the standard library alone."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import struct
import time
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from tests.trust.cus_door import Answer

_API = "/api/v1/cus"
_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
_PERIOD_SECONDS = 30


class Person:
    """One browser, or one program with an API token; `account` is what `make_people` gave."""

    def __init__(self, port: int, account: dict[str, Any] | None = None) -> None:
        self._port = port
        self._account = account or {}
        self._cookies: dict[str, str] = {}
        self._token = ""

    def sign_in(self) -> "Person":
        """With the password, and the code where there is an authenticator."""
        fields = {"username": self._account["email"], "password": self._account["password"]}
        answer = self.submit("/admin/login/", fields)
        assert answer.status == http.client.FOUND, f"the password was refused: {answer.status}"
        if self._account["seed"]:
            code = totp(base64.b32decode(self._account["seed"]))
            answer = self.submit("/admin/second-factor/", {"code": code})
            assert answer.status == http.client.FOUND, f"the code was refused: {answer.status}"
        return self

    def with_token(self) -> "Person":
        """A program with a token that the signed-in person makes for it, with all rights there are."""
        named = {"name": "Program"}
        answer = self.call("POST", "/tokens", named | {"may_change_access": True})
        if answer.status == http.client.BAD_REQUEST:
            # A product whose tokens all have the same rights.
            answer = self.call("POST", "/tokens", named)
        assert answer.status == http.client.CREATED, str(answer)
        program = Person(self._port, self._account)
        program._token = answer.json()["token"]
        return program

    def call(self, method: str, path: str, body: Any = None, *, raw: bytes = b"") -> Answer:
        """A request to the API, by session or token."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        elif csrf := self._cookies.get("csrftoken"):
            headers |= {"X-CSRFToken": csrf, "Referer": f"http://127.0.0.1:{self._port}/"}
        content = raw or (json.dumps(body).encode() if body is not None else b"")
        return self._ask(method, _API + path, content, headers)

    def see(self, path: str) -> Answer:
        """A page of the console."""
        return self._ask("GET", path, b"", {})

    def submit(self, path: str, fields: dict[str, str]) -> Answer:
        """Open a page and send its form."""
        page = self.see(path)
        if page.status != http.client.OK:
            return page
        found = _FIELD.search(page.body.decode(errors="replace"))
        form = {"csrfmiddlewaretoken": found[1] if found else "", **fields}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": f"http://127.0.0.1:{self._port}{path}",
        }
        return self._ask("POST", path, urlencode(form).encode(), headers)

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._cookies and not self._token:
            pairs = (f"{name}={value}" for name, value in self._cookies.items())
            headers = headers | {"Cookie": "; ".join(pairs)}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=40)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            for name, value in response.getheaders():
                if name.lower() == "set-cookie":
                    self._cookies |= {key: one.value for key, one in SimpleCookie(value).items()}
            said = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, said, response.read())
        finally:
            connection.close()


def totp(seed: bytes, at: float | None = None) -> str:
    """The code that an authenticator shows (RFC 6238, SHA-1, six digits)."""
    counter = int((time.time() if at is None else at) // _PERIOD_SECONDS)
    digest = hmac.digest(seed, struct.pack(">Q", counter), hashlib.sha1)
    start = digest[-1] & 0xF
    number = struct.unpack(">I", digest[start : start + 4])[0] & 0x7FFF_FFFF
    return f"{number % 1_000_000:06d}"


def codes_of(answer: Answer) -> list[str]:
    """The error codes of an answer of the API."""
    if not answer.is_json:
        return []
    return [str(error.get("code")) for error in answer.json().get("errors", [])]
