"""Checks that constructors and forwards of all networks share; each error names the value, the rule and the fix."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor


def check_input(x: Tensor, spatial_dims: int, in_channels: int, smallest: Sequence[int] | None = None) -> None:
    """Refuse a tensor that is not (B, in_channels, *S) of floating point with every axis long enough.

    Raises:
        TypeError: when the tensor is not of floating point.
        ValueError: when its rank, channels or size do not fit.

    Example:
        >>> import torch
        >>> check_input(torch.zeros(1, 1, 8, 8), 2, 3)
        Traceback (most recent call last):
        ValueError: the input has 1 channels and the network takes 3: repeat or select channels, or set in_channels=1
    """
    axes = ", ".join(("depth", "height", "width")[-spatial_dims:])
    if x.dim() != spatial_dims + 2:
        raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, channels, {axes})")
    if not x.is_floating_point():
        raise TypeError(f"the input has dtype {x.dtype}: convert it to floating point, for example by .float()")
    if x.shape[1] != in_channels:
        raise ValueError(
            f"the input has {x.shape[1]} channels and the network takes {in_channels}: repeat or select channels, "
            f"or set in_channels={x.shape[1]}"
        )
    if x.shape[0] == 0:
        raise ValueError(f"the input has shape {tuple(x.shape)}: give at least one image")
    smallest = smallest or (1,) * spatial_dims
    for size, least in zip(x.shape[2:], smallest, strict=True):
        if size < least:
            raise ValueError(
                f"the input's size is {tuple(x.shape[2:])} and the smallest that works is {tuple(smallest)}: pad it"
            )


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Refuse a value that is not one of the choices.

    Example:
        >>> check_choice("spatial_dims", 4, (2, 3))
        Traceback (most recent call last):
        ValueError: spatial_dims is 4: use one of 2, 3
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: use one of {', '.join(map(repr, choices))}")


def check_positive(**values: int) -> None:
    """Refuse whole numbers below one.

    Example:
        >>> check_positive(in_channels=0)
        Traceback (most recent call last):
        ValueError: in_channels is 0: give a whole number of at least 1
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}: give a whole number of at least 1")


def per_stage(name: str, value: int | Sequence[int], stages: int) -> tuple[int, ...]:
    """One whole number a stage, from one for all or a list.

    Example:
        >>> per_stage("n_blocks", 2, 3)
        (2, 2, 2)
    """
    values = (value,) * stages if isinstance(value, int) else tuple(value)
    if len(values) != stages:
        raise ValueError(f"{name} has {len(values)} entries: give one number, or {stages}, one a stage")
    for entry in values:
        check_positive(**{name: entry})
    return values


def per_stage_and_axis(
    name: str, value: int | Sequence[int | Sequence[int]], stages: int, spatial_dims: int
) -> tuple[tuple[int, ...], ...]:
    """One number a stage and axis, from one for all, one a stage, or a list a stage.

    Example:
        >>> per_stage_and_axis("strides", [1, [2, 1]], 2, 2)
        ((1, 1), (2, 1))
    """
    entries = (value,) * stages if isinstance(value, int) else tuple(value)
    if len(entries) != stages:
        raise ValueError(f"{name} has {len(entries)} entries: give one number, or {stages} entries, one a stage")
    return tuple(per_stage(f"{name}[{i}]", entry, spatial_dims) for i, entry in enumerate(entries))
