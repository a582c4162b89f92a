"""Answers and streams of providers, and what each provider bills for them."""
