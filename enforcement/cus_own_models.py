"""Of which models a tenant has prices of its own: so that a check reads only those that apply.

A price override is found under the name that the tenant gave it and under the table's name of
that model (ruling M5), so SQL alone can't look it up. What this process keeps of an integration
holds for one `config_version`: it rises with each override that is appended (ruling F10).
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aos_sdk.cus_cost import canonical_name

_MAX_KNOWN = 10_000
_NO_VERSION = 0


class OwnModels(NamedTuple):
    """The models that a tenant has overrides of, as one version of an integration has them."""

    config_version: int = _NO_VERSION
    default_model: str | None = None
    # By the tenant's name and by the table's: all names that the tenant gave that model.
    names: Mapping[str, frozenset[str]] = {}

    def named(self, models: Iterable[str | None]) -> list[str]:
        """The names under which overrides may apply to calls of these models, in order.

        None is a call that names no model: the integration's default.
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
    """What is kept of an integration; of version 0, which none has, if nothing is."""
    return _known.get(integration_id, _NOTHING_KNOWN)


def remember_models(
    integration_id: uuid.UUID,
    config_version: int,
    default_model: str | None,
    overridden: Iterable[str],
) -> OwnModels:
    """Keep the names of the models that the tenant has overrides of, and give them back."""
    names: dict[str, frozenset[str]] = {}
    for model in overridden:
        for name in {model, canonical_name(model) or model}:
            names[name] = names.get(name, frozenset()) | {model}
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    known = _known[integration_id] = OwnModels(config_version, default_model, names)
    return known


def forget_models() -> None:
    """Know nothing, as a process that has just started."""
    _known.clear()
