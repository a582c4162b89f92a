"""What this process knows of an integration: own prices, who answers, how long, and its limits.

A price override applies under the model name that the tenant gave and under the price table's name
of that model (ruling M5), so SQL alone can't find it. What calls taught is read with the names
(ruling F3b). This process keeps what it read of one `config_version` of an integration; the version
rises with each change of it (ruling F10).
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from aos_sdk.cus_cost import canonical_name
from enforcement.cus_reading.known_limits import ALL_LIMITS, NO_LIMITS, KnownLimit, KnownLimits

_MAX_KNOWN = 10_000
_NO_VERSION = 0

READ_MODELS: Final = "cus_read_models"
PREPARED: Final = (
    f"""
PREPARE {READ_MODELS} (uuid, uuid) AS
SELECT json_build_object(
    'overridden', (SELECT coalesce(json_agg(DISTINCT model), '[]') FROM cus_price_overrides
        WHERE tenant_id = $1),
    'answering', (SELECT coalesce(json_agg(json_build_array(name, model) ORDER BY name, model), '[]')
        FROM cus_answering_models WHERE tenant_id = $1 AND integration_id = $2),
    'outputs', (SELECT coalesce(json_agg(json_build_array(model, operation, estimate_tokens,
            cardinality(outputs)) ORDER BY model, operation), '[]')
        FROM cus_learned_outputs WHERE tenant_id = $1 AND integration_id = $2
            AND estimate_tokens IS NOT NULL),
    'limits', {ALL_LIMITS}
)
""",  # noqa: S608  (the name is this module's own)
)


class LearnedOutput(NamedTuple):
    """What a call of a model and operation is held for, in tokens of output, and by how many calls."""

    model: str
    operation: str
    tokens: int
    calls: int


class _Read(msgspec.Struct, frozen=True):
    """The document of `cus_read_models`."""

    overridden: Sequence[str]
    answering: Sequence[tuple[str, str]]
    outputs: Sequence[LearnedOutput]
    limits: Sequence[KnownLimit] = ()


class KnownModels(NamedTuple):
    """What is known of an integration's models, at one of its versions."""

    config_version: int = _NO_VERSION
    default_model: str | None = None
    # Maps the tenant's name and the table's name of a model to all names that the tenant gave it.
    names: Mapping[str, frozenset[str]] = {}
    # Maps a name to the models that answered to it within seven days.
    answering: Mapping[str, Sequence[str]] = {}
    outputs: Sequence[LearnedOutput] = ()
    limits: KnownLimits = NO_LIMITS

    def named(self, models: Iterable[str | None]) -> list[str]:
        """The names under which overrides may apply to calls of these models, in order.

        None stands for a call that names no model: the integration's default model. A model that
        nobody knows may be estimated as those that answered to it, or as the default model.
        """
        if not self.names:
            return []
        asked = {name for model in models for name in self._estimated_as(model)}
        found = (
            self.names.get(name, frozenset())
            for model in asked
            for name in (model, canonical_name(model) or model)
        )
        return sorted(frozenset().union(*found))

    def _estimated_as(self, model: str | None) -> Iterator[str]:
        for name in (model, self.default_model):
            if name:
                yield name
                yield from self.answering.get(name, ())
                if canonical_name(name):
                    return

    def learned_tokens(self, model: str) -> int | None:
        """The output that a call of a model is held for, of any operation; None if not learned."""
        found = [output.tokens for output in self.outputs if output.model == model]
        return max(found, default=None)


_known: dict[uuid.UUID, KnownModels] = {}
NOTHING_KNOWN: Final = KnownModels()
_decoder = msgspec.json.Decoder(_Read)


def known_models(integration_id: uuid.UUID) -> KnownModels:
    """What is kept of an integration; if nothing is, that of version 0 (never in use)."""
    return _known.get(integration_id, NOTHING_KNOWN)


def remember_models(
    integration_id: uuid.UUID, config_version: int, default_model: str | None, document: bytes
) -> KnownModels:
    """Keep what `cus_read_models` has read at a version of the integration, and return it."""
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    known = _known[integration_id] = models_of(document, config_version, default_model)
    return known


def models_of(
    document: bytes, config_version: int = _NO_VERSION, default_model: str | None = None
) -> KnownModels:
    """What a document of `cus_read_models` says."""
    read = _decoder.decode(document)
    names: dict[str, frozenset[str]] = {}
    for model in read.overridden:
        for name in {model, canonical_name(model) or model}:
            names[name] = names.get(name, frozenset()) | {model}
    answering: dict[str, list[str]] = {}
    for name, model in read.answering:
        answering.setdefault(name, []).append(model)
    limits = KnownLimits(read.limits) if read.limits else NO_LIMITS
    return KnownModels(config_version, default_model, names, answering, read.outputs, limits)


def forget_models() -> None:
    """Forget all models, as in a process that has just started."""
    _known.clear()
