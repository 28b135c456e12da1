"""Metrics and named evaluation protocols."""
