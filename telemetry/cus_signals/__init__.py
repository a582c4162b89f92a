"""Signals: what Prometheus reads of facts, from their totals at scrape time (§16, ruling O2).

The series survive restarts, are the same from every process, and never drift from the rows. Each
page of them takes a few statements over sets, however many integrations there are. Facts never
depend on signals.
"""
