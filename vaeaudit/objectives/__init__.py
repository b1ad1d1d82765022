"""Training objectives, each a pure function of named terms."""
