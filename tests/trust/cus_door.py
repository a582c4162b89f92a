"""A program's connection to a web server of the product, on the standard library alone."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ANSWER_SECONDS = 40.0


@dataclass(frozen=True)
class Answer:
    """What the product said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none."""
        return json.loads(self.body)

    @property
    def is_json(self) -> bool:
        """Whether it is a JSON object and says so."""
        if not self.headers.get("content-type", "").startswith("application/json"):
            return False
        try:
            return isinstance(self.json(), dict)
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.status} {self.body[:300]!r}"


class Door:
    """A connection of one program to one web server, with its SDK key."""

    def __init__(self, port: int, key: str, *, seconds: float = _ANSWER_SECONDS) -> None:
        self._port = port
        self._key = key
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Raises OSError or HTTPException where there was no answer."""
        try:
            connection = self._send(path, body, headers or {})
            response = connection.getresponse()
            said = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, said, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def abandon(self, path: str, body: bytes, sent: float) -> None:
        """Send that part of a request, and leave without waiting for the answer."""
        try:
            connection = self._send(path, body[: int(len(body) * sent)], {}, len(body))
            connection.close()
        finally:
            self.close()

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _send(
        self, path: str, body: bytes, headers: Mapping[str, str], length: int | None = None
    ) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=self._seconds
            )
        own = {
            "X-CUS-Integration-Key": self._key,
            "Content-Type": "application/json",
            "Content-Length": str(len(body) if length is None else length),
        }
        self._connection.request("POST", path, body, {**own, **headers})
        return self._connection
