"""Estimators, each with its own reliability."""
