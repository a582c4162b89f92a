"""Prometheus, Alertmanager and Grafana for the product: configuration, and what makes and tries it."""
