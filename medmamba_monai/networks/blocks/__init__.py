"""Mixer, norm, residual and MLP rules; patch embedding, merging and decoders."""
