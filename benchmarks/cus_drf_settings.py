"""The product's settings with the plain endpoint in its place, and no more middleware than
such an endpoint would want: what it is compared with must not be slowed down by ours."""

from aos_project.settings import *  # noqa: F403  (all but the two below)

ROOT_URLCONF = "benchmarks.cus_drf_urls"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
