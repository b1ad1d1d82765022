"""Data sets: bundled, of known truth, downloaded, or the user's own."""
