"""Outputs that take results with their frames, and may leave some out."""
