"""Tidy tables: columns, units, collection, comparison."""
