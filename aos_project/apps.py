"""Wiring: the parts that belong to no single plane."""

from django.apps import AppConfig


class AosProjectConfig(AppConfig):
    name = "aos_project"
    verbose_name = "AOS Customer Integrations"
