"""`/telemetry/llm-usage`: programs report a record by POST, and people list records by GET."""

from typing import Any

from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from telemetry.cus_evidence.api import LlmUsageView, SdkView
from telemetry.cus_reads.api import UsageRecordsView


class LlmUsageDoor(UsageRecordsView, LlmUsageView):
    """Who may call depends on the method: POST takes an SDK key, any other a person's proof."""

    def _side(self) -> type[APIView]:
        return SdkView if getattr(self.request, "method", None) == "POST" else UsageRecordsView

    def get_authenticators(self) -> Any:
        return [one() for one in self._side().authentication_classes]

    def get_permissions(self) -> Any:
        return [one() for one in self._side().permission_classes]

    def get_throttles(self) -> Any:
        return [one() for one in self._side().throttle_classes]

    def get_parsers(self) -> Any:
        return [one() for one in self._side().parser_classes]

    def perform_content_negotiation(
        self,
        request: Request,
        force: bool = False,  # noqa: FBT001, FBT002  (DRF's own)
    ) -> tuple[BaseRenderer, str]:
        side: Any = self._side()
        negotiated: tuple[BaseRenderer, str] = side.perform_content_negotiation(
            self, request, force
        )
        return negotiated
