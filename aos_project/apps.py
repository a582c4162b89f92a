"""Wiring: the parts that belong to no single plane."""

import gc

from django.apps import AppConfig


class AosProjectConfig(AppConfig):
    name = "aos_project"
    verbose_name = "AOS Customer Integrations"

    def ready(self) -> None:
        """Let the garbage collector work again, which `settings` stopped: on new objects alone.

        All that was loaded so far stays until the process ends.
        """
        gc.freeze()
        gc.enable()
