"""The models that a tenant has own prices of, so that a check reads only the prices that apply.

A price override applies under the model name that the tenant gave and under the price table's name
of that model (ruling M5), so SQL alone can't find it. This process keeps the names of one
`config_version` of an integration; the version rises with each new override (ruling F10).
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aos_sdk.cus_cost import canonical_name

_MAX_KNOWN = 10_000
_NO_VERSION = 0


class OwnModels(NamedTuple):
    """The models that a tenant has overrides of, at one version of an integration."""

    config_version: int = _NO_VERSION
    default_model: str | None = None
    # Maps the tenant's name and the table's name of a model to all names that the tenant gave it.
    names: Mapping[str, frozenset[str]] = {}

    def named(self, models: Iterable[str | None]) -> list[str]:
        """The names under which overrides may apply to calls of these models, in order.

        None stands for a call that names no model: the integration's default model.
        """
        asked = {model or self.default_model for model in models}
        found = (
            self.names.get(name, frozenset())
            for model in asked
            if model
            for name in (model, canonical_name(model) or model)
        )
        return sorted(frozenset().union(*found))


_known: dict[uuid.UUID, OwnModels] = {}
_NOTHING_KNOWN = OwnModels()


def known_models(integration_id: uuid.UUID) -> OwnModels:
    """The kept models of an integration; if there are none, those of version 0 (never in use)."""
    return _known.get(integration_id, _NOTHING_KNOWN)


def remember_models(
    integration_id: uuid.UUID,
    config_version: int,
    default_model: str | None,
    overridden: Iterable[str],
) -> OwnModels:
    """Keep the names of the models that the tenant has overrides of, and return the models."""
    names: dict[str, frozenset[str]] = {}
    for model in overridden:
        for name in {model, canonical_name(model) or model}:
            names[name] = names.get(name, frozenset()) | {model}
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    known = _known[integration_id] = OwnModels(config_version, default_model, names)
    return known


def forget_models() -> None:
    """Forget all models, as in a process that has just started."""
    _known.clear()
