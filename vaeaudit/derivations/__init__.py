"""Claims about objectives, each with the checks that settle it."""
