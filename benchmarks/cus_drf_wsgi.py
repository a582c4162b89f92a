"""The WSGI application of the plain endpoint."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.cus_drf_settings"

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
