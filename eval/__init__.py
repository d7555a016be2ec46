"""Evaluation of latent compression: metrics and the scripts that apply them."""
