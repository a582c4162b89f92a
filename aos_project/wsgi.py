"""The WSGI application that granian serves."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

application = get_wsgi_application()

from aos_project.cus_production import refuse_evidence_owner  # noqa: E402  (needs Django set up)

refuse_evidence_owner()

# What is loaded by now stays for good; the collector need not walk through it at each turn,
# which costs an ingest worker more than decoding what it is sent.
gc.collect()
gc.freeze()
