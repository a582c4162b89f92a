"""The patch: patched functions look like the originals, and uninstalling restores these."""

import copy
import inspect
import logging
import pickle
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anthropic
import anthropic.lib.bedrock._beta_messages as bedrock_messages
import openai
import pytest
from anthropic.resources.beta.messages.messages import Messages as BetaMessages
from anthropic.resources.messages.messages import AsyncMessages, Messages
from openai.resources.chat.completions.completions import AsyncCompletions, Completions
from openai.resources.files import Files
from openai.resources.responses.responses import AsyncResponses, Responses

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_capture.patch import CusPatch
from aos_sdk.cus_providers.registry import PACKAGES
from tests.sdk.cus_capture_cases import CHAT, DEPRECATED_MODEL, MESSAGES, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider

_TARGETS = [target for package in PACKAGES.values() for target in package.targets]
_ALL: list[tuple[type, str]] = [
    (Completions, "create"),
    (Completions, "parse"),
    (AsyncCompletions, "create"),
    (AsyncCompletions, "parse"),
    (Messages, "create"),
    (Messages, "stream"),
    (AsyncMessages, "parse"),
    (BetaMessages, "create"),
    (bedrock_messages.Messages, "create"),
    (Responses, "retrieve"),
    (AsyncResponses, "cancel"),
    (Files, "content"),
]
FUNCTIONS = [(owner, name) for owner, name in _ALL if name in vars(owner)]  # not all of old ones


@pytest.fixture
def client(provider: CusFakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-test", base_url=f"{provider.url}/v1") as made:
        yield made


@pytest.mark.parametrize(("owner", "name"), FUNCTIONS)
def test_a_governed_function_looks_like_the_original_and_gives_way_to_it(
    owner: type, name: str, recorder: CusRecordingReporter
) -> None:
    original = owner.__dict__[name]
    cus_install_middleware()
    governed = owner.__dict__[name]
    assert governed is not original
    assert governed.__wrapped__ is original
    assert inspect.signature(governed) == inspect.signature(original)
    assert inspect.iscoroutinefunction(governed) == inspect.iscoroutinefunction(original)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(governed, attribute) == getattr(original, attribute)
    cus_uninstall_middleware()
    assert owner.__dict__[name] is original


def test_every_function_that_is_patched_is_put_back(recorder: CusRecordingReporter) -> None:
    for target in _TARGETS:
        __import__(target.module) if target.module in sys.modules else None

    def functions() -> dict[str, object]:
        return {
            f"{target.module}.{prefix}{target.class_name}.{name}": vars(owner)[name]
            for target in _TARGETS
            if (module := sys.modules.get(target.module))
            for prefix in ("", "Async")
            if (owner := getattr(module, prefix + target.class_name, None))
            for name in (*target.methods, "retrieve")
            if name in vars(owner)
        }

    before = functions()
    cus_install_middleware()
    cus_install_middleware()
    patched = {name for name, function in functions().items() if function is not before[name]}
    assert len(patched) > 40
    cus_uninstall_middleware()
    cus_uninstall_middleware()
    after = functions()
    assert all(after[name] is function for name, function in before.items())


def test_installed_twice_counts_once(client: openai.OpenAI, recorder: CusRecordingReporter) -> None:
    cus_install_middleware()
    cus_install_middleware()
    client.chat.completions.create(**CHAT)
    assert len(recorder.rows) == 1
    cus_uninstall_middleware()
    client.chat.completions.create(**CHAT)
    assert len(recorder.rows) == 1


def test_a_function_that_somebody_else_has_put_since_stays(recorder: CusRecordingReporter) -> None:
    original = Completions.create
    cus_install_middleware(patch_anthropic=False)
    governed = Completions.create

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return governed(*args, **kwargs)

    Completions.create = theirs  # type: ignore[method-assign]
    try:
        cus_uninstall_middleware()
        assert Completions.create is theirs
    finally:
        Completions.create = original  # type: ignore[method-assign]


def test_only_what_is_asked_for_is_patched(recorder: CusRecordingReporter) -> None:
    original = Messages.create
    cus_install_middleware(patch_anthropic=False)
    assert Messages.create is original
    assert Completions.__dict__["create"].__wrapped__


def test_clients_are_copied_and_functions_pickled_as_before(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    others = [copy.copy(client), client.with_options(timeout=5), client.copy()]
    for other in others:
        assert type(other) is openai.OpenAI
        other.chat.completions.create(**CHAT)
    assert len(recorder.rows) == 3
    assert pickle.loads(pickle.dumps(Completions.create)) is Completions.create


def test_errors_in_arguments_are_the_packages_own(
    client: openai.OpenAI, recorder: CusRecordingReporter
) -> None:
    with pytest.raises(TypeError) as bare:
        client.chat.completions.create(model="gpt-4o")  # type: ignore[call-overload]
    cus_install_middleware()
    with pytest.raises(TypeError) as governed:
        client.chat.completions.create(model="gpt-4o")  # type: ignore[call-overload]
    assert str(governed.value).startswith("Missing required arguments; Expected either")
    assert len(str(bare.value)) == len(str(governed.value))
    assert recorder.rows == []  # no request left the program


def test_an_unknown_major_is_left_alone_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = ModuleType("openai._version")
    strange.__version__ = "99.1.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openai._version", strange)
    original = Completions.create
    patch = CusPatch(PACKAGES["openai"])
    with caplog.at_level(logging.WARNING, logger="aos_sdk"):
        patch.install()
        patch.remove()
        patch.install()
        patch.remove()
    assert Completions.create is original
    assert [record.getMessage() for record in caplog.records] == [
        "openai 99.1.0 is not known to this version of the SDK; its calls are not captured"
    ]


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_imported_and_what_is_imported_later_is_patched_then() -> None:
    assert (
        _run("""
        import sys
        from aos_sdk import cus_install_middleware, cus_uninstall_middleware
        cus_install_middleware()
        assert not {"openai", "anthropic", "httpx2", "urllib3", "tiktoken"} & sys.modules.keys()
        import openai
        client = openai.OpenAI(api_key="x")
        governed = type(client.chat.completions).create
        assert governed.__wrapped__.__qualname__ == "Completions.create"
        assert type(client.chat.completions).__module__ in sys.modules
        loader = sys.modules["openai.resources.embeddings"].__loader__ if (
            "openai.resources.embeddings" in sys.modules) else None
        assert loader is None or type(loader).__name__ == "SourceFileLoader"
        cus_uninstall_middleware()
        assert type(client.chat.completions).create is governed.__wrapped__
        client.embeddings
        assert not hasattr(type(client.embeddings).create, "__wrapped__")
        print("right")
    """)
        == "right"
    )


@pytest.mark.parametrize("missing", ["openai", "anthropic"])
def test_one_package_alone_is_enough(missing: str) -> None:
    other = {"openai": "anthropic", "anthropic": "openai"}[missing]
    assert (
        _run(f"""
        import sys
        sys.modules["{missing}"] = None
        from aos_sdk import cus_install_middleware
        cus_install_middleware()
        import {other}
        try:
            import {missing}
        except ImportError:
            print("right")
    """)
        == "right"
    )


def test_deprecation_warnings_still_point_at_the_program(
    provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url) as client:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.messages.create(model=DEPRECATED_MODEL, max_tokens=9, messages=MESSAGES)
    assert [warning.filename for warning in caught] == [__file__]
