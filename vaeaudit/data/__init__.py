"""Data sets with a fixed, hashed content; some with a known truth."""
