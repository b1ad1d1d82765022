"""Likelihoods, networks, and the VAE as estimators see it."""
