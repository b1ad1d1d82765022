"""Training: one compiled program per sweep."""
