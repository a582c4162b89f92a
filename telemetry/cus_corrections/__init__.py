"""Corrections of cost: appended beside the evidence."""
