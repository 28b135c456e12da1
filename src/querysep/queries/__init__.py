"""Queries: what a user gives becomes the condition that the separator takes."""
