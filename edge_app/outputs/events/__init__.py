"""Outputs that take events: each event reaches each of them."""
