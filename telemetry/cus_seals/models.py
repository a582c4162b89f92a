"""The seals of days of evidence."""

from typing import ClassVar

from django.db import models


class CusEvidenceSeal(models.Model):
    """A tenant's day of receipt (UTC), sealed: a keyed SHA-256 over the day's evidence.

    Each day from the first evidence on has a seal, an empty day too, so that a seal that is missing
    shows. `digest` covers all other columns, and with `previous` the digest of the day before.
    Digests are in hex. The database refuses to change or remove a seal (ruling E5).
    """

    # What the first seal of a tenant has in place of the digest of the day before.
    START: ClassVar[str] = "0" * 64

    pk = models.CompositePrimaryKey("tenant_id", "day")
    tenant_id = models.UUIDField()
    day = models.DateField()
    # The version of the canonical form, and the name of the secret: `cus_seals.keys`.
    form = models.PositiveSmallIntegerField()
    key_id = models.CharField(max_length=16)
    rows = models.PositiveBigIntegerField()
    settlements = models.PositiveBigIntegerField()
    adjustments = models.PositiveBigIntegerField()
    # Each kind of facts by itself, so that seals stay provable when retention has dropped the rows.
    rows_digest = models.CharField(max_length=64)
    settlements_digest = models.CharField(max_length=64)
    adjustments_digest = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()

    app_privileges: ClassVar[str] = "SELECT, INSERT"

    class Meta:
        db_table = "cus_evidence_seals"
        verbose_name = "evidence seal"

    def __str__(self) -> str:
        return f"{self.day} of {self.tenant_id}"
