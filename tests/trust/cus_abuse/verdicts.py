"""What attacks read of verdicts and of what is held."""

from typing import Any

from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_check_races import integration_of

# Let in, with evidence or without.
LET_IN = ("allowed", "warned", "degraded")


def verdict(decision: dict[str, Any]) -> str:
    """The result of a check; what was decided without evidence or for want of a turn is named so."""
    if decision["degraded"]:
        return "degraded"
    code = str(decision["reasons"][0]["code"])
    return "contention" if code == "contention" else str(decision["result"])


def live_holds(product: AttackedProduct, key: str) -> int:
    """How many holds of the key's integration are alive."""
    row = product.database.execute(
        "SELECT count(*) FROM cus_enforcement_holds WHERE integration_id = %s"
        " AND expires_at > now()",
        [integration_of(key)],
    ).fetchone()
    assert row
    return int(row[0])
