"""The rules from one state of health to the next, as pure functions (ruling F2).

- One failure, or an answer that comes slowly: degraded. Three failures in a row: failing.
- Two quick passes in a row: healthy. The first check of an integration needs only one pass,
  because there is nothing to recover from.
- The provider's own "bad key" twice in a row makes the credential invalid; a missing credential
  and a credential that can't be decrypted are invalid at once. A pass makes the credential valid.
- A configuration that the provider refuses three times in a row, or a credential that can't be
  decrypted, is an error; a pass closes every error.

No other failure stops calls: not a network, a timeout, a 5xx, a 429 or a missing permission.
"""

from dataclasses import asdict, dataclass

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.probe_answers import Verdict

FAILING_AFTER = 3
HEALTHY_AFTER = 2
INVALID_AFTER = 2
ERROR_AFTER = 3

_Health = CusIntegration.Health
_Credential = CusIntegration.CredentialState
NO_CREDENTIAL = (Verdict.CREDENTIAL_MISSING, Verdict.CREDENTIAL_UNREADABLE)


@dataclass(frozen=True)
class HealthState:
    """Everything that the next state depends on."""

    health_state: str = _Health.UNKNOWN
    credential_state: str = _Credential.UNKNOWN
    # An error is open; the lifecycle sets the status accordingly.
    in_error: bool = False
    consecutive_failures: int = 0
    consecutive_passes: int = 0
    consecutive_bad_keys: int = 0
    consecutive_refusals: int = 0

    @classmethod
    def of(cls, integration: CusIntegration) -> "HealthState":
        """The state in the integration's row."""
        in_error = integration.status == CusIntegration.Status.ERROR
        return cls(
            health_state=integration.health_state,
            credential_state=integration.credential_state,
            in_error=in_error or bool(integration.error_reason),
            consecutive_failures=integration.consecutive_failures,
            consecutive_passes=integration.consecutive_passes,
            consecutive_bad_keys=integration.consecutive_bad_keys,
            consecutive_refusals=integration.consecutive_refusals,
        )

    def columns(self) -> dict[str, str | int]:
        """The state's columns. The status is not among them, because the lifecycle sets it."""
        return {name: value for name, value in asdict(self).items() if name != "in_error"}


def next_health(state: HealthState, verdict: Verdict, *, slow: bool = False) -> HealthState:
    """The state after one more check."""
    if verdict is Verdict.OK:
        return _after_pass(state, slow=slow)
    failures = state.consecutive_failures + 1
    bad_keys = state.consecutive_bad_keys + 1 if verdict is Verdict.BAD_KEY else 0
    refusals = state.consecutive_refusals + 1 if verdict is Verdict.CONFIG_REFUSED else 0
    invalid = verdict in NO_CREDENTIAL or bad_keys >= INVALID_AFTER
    broken = verdict is Verdict.CREDENTIAL_UNREADABLE or refusals >= ERROR_AFTER
    stays_failing = state.health_state == _Health.FAILING
    return HealthState(
        health_state=(
            _Health.FAILING if stays_failing or failures >= FAILING_AFTER else _Health.DEGRADED
        ),
        credential_state=_Credential.INVALID if invalid else state.credential_state,
        in_error=state.in_error or broken,
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
        consecutive_passes=passes,
    )
