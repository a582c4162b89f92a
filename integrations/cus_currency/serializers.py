"""What the API of display rates takes and gives."""

from rest_framework import serializers

from integrations.cus_currency.models import CusDisplayRate
from integrations.cus_web.strict_fields import StrictInput, StrictMoment, StrictText

_RATE = "What one US dollar is worth in the currency, as decimal text."


class DisplayRateInput(StrictInput):
    """A rate from a moment on. One of USD ends the display of another currency."""

    currency = StrictText(max_length=3, help_text="Three capital letters, such as EUR.")
    rate = StrictText(max_length=20, help_text=_RATE)
    valid_from = StrictMoment()


class DisplayRateOutput(serializers.ModelSerializer[CusDisplayRate]):
    """A rate as it was appended."""

    rate = serializers.DecimalField(max_digits=14, decimal_places=8, help_text=_RATE)

    class Meta:
        model = CusDisplayRate
        fields = ("id", "currency", "rate", "valid_from", "created_at")
