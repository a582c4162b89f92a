"""Programs that call a provider by plain HTTP clients, each by every way to read the answer."""

import asyncio
import importlib
import importlib.util
import json
from collections.abc import Callable
from typing import Any, Final

import requests
import urllib3

from tests.sdk.cus_provider_http import openai_http

Program = Callable[[str, dict[str, Any]], bytes]
HEADERS: Final = {
    "authorization": "Bearer sk-test-0123456789abcdef",
    "openai-project": "proj_1",
    "content-type": "application/json",
}


def _by_httpx(url: str, body: dict[str, Any]) -> bytes:
    with openai_http.Client() as client:
        return bytes(client.post(url, json=body, headers=HEADERS).content)


def _by_httpx_stream(read: Callable[[Any], Any]) -> Program:
    def program(url: str, body: dict[str, Any]) -> bytes:
        with (
            openai_http.Client() as client,
            client.stream("POST", url, json=body, headers=HEADERS) as response,
        ):
            return _joined(read(response))

    return program


def _by_httpx_later(url: str, body: dict[str, Any]) -> bytes:
    async def ask() -> bytes:
        async with openai_http.AsyncClient() as client:
            return bytes((await client.post(url, json=body, headers=HEADERS)).content)

    return asyncio.run(ask())


def _by_httpx_stream_later(read: Callable[[Any], Any]) -> Program:
    async def ask(url: str, body: dict[str, Any]) -> bytes:
        async with (
            openai_http.AsyncClient() as client,
            client.stream("POST", url, json=body, headers=HEADERS) as response,
        ):
            return _joined([part async for part in read(response)])

    return lambda url, body: asyncio.run(ask(url, body))


def _by_requests(url: str, body: dict[str, Any]) -> bytes:
    return requests.post(url, json=body, headers=HEADERS, timeout=20).content


def _by_requests_stream(read: Callable[[Any], Any]) -> Program:
    def program(url: str, body: dict[str, Any]) -> bytes:
        asked: Any = {"json": body, "headers": HEADERS, "timeout": 20, "stream": True}
        with requests.post(url, **asked) as response:
            return _joined(read(response))

    return program


def _by_urllib3(url: str, body: dict[str, Any]) -> bytes:
    text = json.dumps(body)
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=text, headers=HEADERS).data


def _by_urllib3_stream(read: Callable[[Any], Any]) -> Program:
    def program(url: str, body: dict[str, Any]) -> bytes:
        text = json.dumps(body).encode()
        asked: Any = {"body": text, "headers": HEADERS, "preload_content": False}
        with urllib3.PoolManager() as pool:
            response = pool.request("POST", url, **asked)
            said = _joined(read(response))
            response.release_conn()
            return said

    return program


def _parts(response: Any) -> Any:
    while part := response.read(7):
        yield part


def _by_aiohttp(read: Callable[[Any], Any]) -> Program:
    async def ask(url: str, body: dict[str, Any]) -> bytes:
        aiohttp = importlib.import_module("aiohttp")
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=HEADERS) as response,
        ):
            said = read(response)
            if hasattr(said, "__aiter__"):
                return _joined([part async for part in said])
            return bytes(await said)

    return lambda url, body: asyncio.run(ask(url, body))


def _joined(parts: Any) -> bytes:
    if isinstance(parts, bytes):
        return parts
    return b"".join(part.encode() if isinstance(part, str) else part for part in parts)


async def _lines(response: Any) -> Any:
    while line := await response.content.readline():
        yield line


_ALL: Final[dict[str, Program]] = {
    "httpx": _by_httpx,
    "httpx read": _by_httpx_stream(lambda response: response.read()),
    "httpx iter_bytes": _by_httpx_stream(lambda response: response.iter_bytes(5)),
    "httpx iter_text": _by_httpx_stream(lambda response: response.iter_text()),
    "httpx iter_raw": _by_httpx_stream(lambda response: response.iter_raw(5)),
    "httpx async": _by_httpx_later,
    "httpx aiter_bytes": _by_httpx_stream_later(lambda response: response.aiter_bytes()),
    "httpx aiter_raw": _by_httpx_stream_later(lambda response: response.aiter_raw()),
    "requests": _by_requests,
    "requests iter_content": _by_requests_stream(lambda response: response.iter_content(5)),
    "requests raw": _by_requests_stream(lambda response: response.raw.read()),
    "requests raw parts": _by_requests_stream(lambda response: _parts(response.raw)),
    "urllib3": _by_urllib3,
    "urllib3 read": _by_urllib3_stream(lambda response: response.read()),
    "urllib3 parts": _by_urllib3_stream(_parts),
    "urllib3 stream": _by_urllib3_stream(lambda response: response.stream(5)),
    "urllib3 raw stream": _by_urllib3_stream(
        lambda response: response.stream(5, decode_content=False)
    ),
    "aiohttp": _by_aiohttp(lambda response: response.read()),
    "aiohttp iter_any": _by_aiohttp(lambda response: response.content.iter_any()),
    "aiohttp iter_chunked": _by_aiohttp(lambda response: response.content.iter_chunked(5)),
    "aiohttp readline": _by_aiohttp(_lines),
}
_HAS_AIOHTTP: Final = importlib.util.find_spec("aiohttp") is not None
PROGRAMS: Final = {
    name: program
    for name, program in _ALL.items()
    if _HAS_AIOHTTP or not name.startswith("aiohttp")
}
