"""From one state of health to the next: pure, and the only place that says how (ruling F2).

- One failure, or an answer that comes slowly: degraded. Three failures in a row: failing.
- Two quick passes in a row: healthy. The first check ever needs only one: there is nothing to
  recover from.
- The provider's own "bad key" twice in a row makes the credential invalid; a missing or
  undecryptable one is so at once. A pass makes it valid.
- A configuration that the provider refuses three times in a row, or a credential that can't be
  decrypted, puts an enabled integration into `error`; a pass lifts it.

Nothing else stops a call: not a network, a timeout, a 5xx, a 429 or a missing permission.
"""

from dataclasses import dataclass

from integrations.cus_models import CusIntegration
from integrations.cus_probe_answers import Verdict

FAILING_AFTER = 3
HEALTHY_AFTER = 2
INVALID_AFTER = 2
ERROR_AFTER = 3

_Health = CusIntegration.Health
_Credential = CusIntegration.CredentialState
_Status = CusIntegration.Status
_NO_CREDENTIAL = (Verdict.CREDENTIAL_MISSING, Verdict.CREDENTIAL_UNREADABLE)


@dataclass(frozen=True)
class HealthState:
    """All that the next state depends on; the fields are columns of the integration."""

    health_state: str = _Health.UNKNOWN
    credential_state: str = _Credential.UNKNOWN
    status: str = _Status.ENABLED
    consecutive_failures: int = 0
    consecutive_passes: int = 0
    consecutive_bad_keys: int = 0
    consecutive_refusals: int = 0

    @classmethod
    def of(cls, integration: CusIntegration) -> "HealthState":
        """As the integration's row says."""
        return cls(**{name: getattr(integration, name) for name in cls.__dataclass_fields__})

    def decides_like(self, other: "HealthState") -> bool:
        """Whether enforcement would see no difference (ruling F10)."""
        return (self.credential_state, self.status) == (other.credential_state, other.status)

    def looks_like(self, other: "HealthState") -> bool:
        """Whether this is no transition: the counters alone differ."""
        return self.health_state == other.health_state and self.decides_like(other)


def next_health(state: HealthState, verdict: Verdict, *, slow: bool = False) -> HealthState:
    """The state after one more check."""
    if verdict is Verdict.OK:
        return _after_pass(state, slow=slow)
    failures = state.consecutive_failures + 1
    bad_keys = state.consecutive_bad_keys + 1 if verdict is Verdict.BAD_KEY else 0
    refusals = state.consecutive_refusals + 1 if verdict is Verdict.CONFIG_REFUSED else 0
    invalid = verdict in _NO_CREDENTIAL or bad_keys >= INVALID_AFTER
    broken = verdict is Verdict.CREDENTIAL_UNREADABLE or refusals >= ERROR_AFTER
    stays_failing = state.health_state == _Health.FAILING
    return HealthState(
        health_state=(
            _Health.FAILING if stays_failing or failures >= FAILING_AFTER else _Health.DEGRADED
        ),
        credential_state=_Credential.INVALID if invalid else state.credential_state,
        # One that does not serve has nothing to be stopped.
        status=_Status.ERROR if broken and state.status == _Status.ENABLED else state.status,
        consecutive_failures=failures,
        consecutive_bad_keys=bad_keys,
        consecutive_refusals=refusals,
    )


def _after_pass(state: HealthState, *, slow: bool) -> HealthState:
    passes = 0 if slow else state.consecutive_passes + 1
    calm = state.health_state in (_Health.UNKNOWN, _Health.HEALTHY)
    healthy = not slow and (calm or passes >= HEALTHY_AFTER)
    return HealthState(
        health_state=_Health.HEALTHY if healthy else _Health.DEGRADED,
        credential_state=_Credential.VALID,
        status=_Status.ENABLED if state.status == _Status.ERROR else state.status,
        consecutive_passes=passes,
    )
