"""Claims about objectives, each with the checks that settle it; the theory of the linear-Gaussian VAE."""
