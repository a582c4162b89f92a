"""All routes: console, API, and what looks after a running process."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from aos_project.cus_probes import healthz, metrics, readyz

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/password_reset/", include("integrations.cus_password_urls")),
    path("admin/", admin.site.urls),
    path("api/v1/cus/", include("integrations.urls")),
    path("api/v1/cus/telemetry/", include("telemetry.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
]

handler400 = "aos_project.cus_error_pages.bad_request"
handler403 = "aos_project.cus_error_pages.forbidden"
handler404 = "aos_project.cus_error_pages.not_found"
handler500 = "aos_project.cus_error_pages.server_error"
