"""Routes of enforcement, below /api/v1/cus/enforcement/."""

from django.urls import path

from enforcement.cus_checks.api import (
    CheckBatchView,
    CheckView,
    ConfigView,
    DecisionsView,
    StatusView,
)
from enforcement.cus_checks.lending_api import LeaseEndView, LeaseView
from enforcement.cus_what_if.api import SimulateView, SimulationView

urlpatterns = [
    path("check", CheckView.as_view(), name="cus-enforcement-check"),
    path("batch", CheckBatchView.as_view(), name="cus-enforcement-batch"),
    path("lease", LeaseView.as_view(), name="cus-enforcement-lease"),
    path("lease/<uuid:lease_id>", LeaseEndView.as_view(), name="cus-enforcement-lease-end"),
    path("status", StatusView.as_view(), name="cus-enforcement-status"),
    path("config", ConfigView.as_view(), name="cus-enforcement-config"),
    path("decisions", DecisionsView.as_view(), name="cus-enforcement-decisions"),
    path("simulate", SimulateView.as_view(), name="cus-enforcement-simulate"),
    path(
        "simulations/<uuid:simulation_id>",
        SimulationView.as_view(),
        name="cus-enforcement-simulation",
    ),
]
