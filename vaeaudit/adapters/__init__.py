"""Bridges from other people's models; each imported only when used."""
