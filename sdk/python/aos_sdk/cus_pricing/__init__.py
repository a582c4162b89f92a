"""Prices: the table of models, and the cost of a call at a model's rates. `cus_cost` is the door."""
