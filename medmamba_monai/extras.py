"""Optional packages: which extra of this package brings each of them."""

from __future__ import annotations

# import name -> (name on the package index, extra)
EXTRAS: dict[str, tuple[str, str]] = {
    "mamba_ssm": ("mamba-ssm", "cuda"),
    "causal_conv1d": ("causal-conv1d", "cuda"),
    "fire": ("fire", "bundles"),
    "ignite": ("pytorch-ignite", "bundles"),
    "itk": ("itk", "bundles"),
    "jsonschema": ("jsonschema", "bundles"),
    "nibabel": ("nibabel", "bundles"),
    "PIL": ("pillow", "bundles"),
    "yaml": ("pyyaml", "bundles"),
    "scipy": ("scipy", "bundles"),
    "tensorboard": ("tensorboard", "bundles"),
    "tqdm": ("tqdm", "bundles"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "onnxscript": ("onnxscript", "export"),
    "einops": ("einops", "vit"),
    "matplotlib": ("matplotlib", "plots"),
    "nilearn": ("nilearn", "sample"),
    "skimage": ("scikit-image", "sample"),
}


def install_command(extra: str) -> str:
    """The command that installs one extra.

    Example:
        >>> install_command("plots")
        'pip install "medmamba-monai[plots]"'
    """
    return f'pip install "medmamba-monai[{extra}]"'


def missing_sentence(module: str) -> str:
    """Say in one sentence what to install when the import of ``module`` failed.

    Example:
        >>> missing_sentence("nibabel")
        'nibabel is not installed: pip install "medmamba-monai[bundles]"'
    """
    top = module.partition(".")[0]
    if top not in EXTRAS:
        return f"the Python package {top!r} is not installed: pip install {top}"
    package, extra = EXTRAS[top]
    return f"{package} is not installed: {install_command(extra)}"
