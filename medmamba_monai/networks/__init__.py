"""Layers, blocks and networks built on the state-space operations of ``medmamba_monai.ops``."""
