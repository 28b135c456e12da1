"""Readers of other people's data sets: one module for each layout, and what they share."""
