"""S6, the selective scan of Mamba: the public functions, their contract and their dtype rule.

Letters follow Mamba (arXiv 2312.00752): u input, delta step size, A decay, B and C input and output maps, D skip,
z gate; B is the batch size in shapes, D the channels, L the length, N the state size, G the groups of channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medmamba_monai.ops import backends
from medmamba_monai.ops.zero_order_hold import check_input_rule


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    input_rule: str = "euler",
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t, y_t = C_t h_t + D u_t along the length.

    Mamba (arXiv 2312.00752), equation 2 and algorithm 2, with the code's input rule (delta B); with "zoh" the exact
    zero-order hold of its equation 4, (exp(delta A) - 1) / A B.

    Args:
        u: input.
        delta: step sizes before the bias and the softplus.
        A: decay rates, real and negative for a stable state.
        B: input map, changing along the length (with or without groups) or constant.
        C: output map, same forms as B.
        D: skip weight of each channel, or None.
        z: gate: the output is multiplied by silu(z); or None.
        delta_bias: added to delta, or None.
        delta_softplus: apply softplus to delta after the bias.
        return_last_state: also return the state after the last step.
        input_rule: "euler", which every checkpoint of Mamba has, or "zoh", in plain torch only.
        backend: "auto" or a name from `available_backends()`.

    Shape:
        u, delta, z (B, D, L); A (D, N); B, C (B, N, L), (B, G, N, L) or constant (D, N); D, delta_bias (D).
        Returns (B, D, L) in u's dtype, and with return_last_state the state (B, D, N) in float32.

    Raises:
        ValueError: when a shape, dtype, rule or backend name does not fit.
        RuntimeError: when the forced backend cannot run here.

    Example:
        >>> u, delta = torch.ones(1, 1, 3), torch.ones(1, 1, 3)
        >>> ones = torch.ones(1, 1, 3)
        >>> selective_scan(u, delta, torch.zeros(1, 1), ones, ones)
        tensor([[[1., 2., 3.]]])

    Notes:
        The state is float32 whatever the dtype of u or autocast (float64 for float64 inputs).
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    check_input_rule(input_rule)
    cannot: dict[str, str] = {}
    if B.dim() == 2 or C.dim() == 2:
        kernels = ("native", "triton", "mamba_ssm")
        cannot = dict.fromkeys(kernels, "its kernel takes B and C along the length, not constant ones")
    if input_rule == "zoh":
        cannot = dict.fromkeys(("native", "triton", "mamba_ssm"), "its kernel has input_rule='euler' only")
    if return_last_state and torch.is_grad_enabled():
        cannot["mamba_ssm"] = "its kernel gives no gradient of the last state"
    module = backends.choose(backend, u, cannot)
    B, C = _grouped(B, u), _grouped(C, u)
    groups = math.lcm(B.shape[1], C.shape[1])
    B, C = _repeat_groups(B, groups), _repeat_groups(C, groups)
    held = {"zero_order_hold": True} if input_rule == "zoh" else {}
    y, state = module.scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, **held)
    return (y, state) if return_last_state else y


def bidirectional_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    backend: str = "auto",
) -> Tensor:
    """Scan P paths forwards and, with R = 2, backwards too, and sum the directions.

    The cross scan of VMamba (arXiv 2401.10166) is P = 2, R = 2; its 3D form P = 3, R = 2; Vision Mamba
    (arXiv 2401.09417) P = 1, R = 2. All tensors are in forward order: nothing is flipped by the caller.

    Args:
        u: the same grid read along each path.
        delta: step sizes of each direction before the bias and the softplus.
        A: decay rates.
        B: input map of each direction and path.
        C: output map of each direction and path.
        D: skip weights, or None.
        delta_bias: added to delta, or None.
        delta_softplus: apply softplus to delta after the bias.
        backend: "auto" or a name from `available_backends()`.

    Shape:
        u (B, P, D, L); delta (B, R, P, D, L); A (R, P, D, N); B, C (B, R, P, N, L); D, delta_bias (R, P, D).
        Returns (B, P, D, L).

    Raises:
        ValueError: when a shape, dtype or backend name does not fit.
        RuntimeError: when the forced backend cannot run here.

    Example:
        >>> ones = torch.ones(1, 2, 1, 1, 3)
        >>> bidirectional_selective_scan(ones[:, 0], ones, torch.zeros(2, 1, 1, 1), ones, ones)
        tensor([[[[4., 4., 4.]]]])
    """
    _check_bidirectional(u, delta, A, B, C, D, delta_bias)
    module = backends.choose(backend, u)
    fused = getattr(module, "bidirectional_scan", None)
    if fused is not None:
        result: Tensor = fused(u, delta, A, B, C, D, delta_bias, delta_softplus)
        return result
    batch, directions, paths, channels, length = delta.shape
    y, _ = module.scan(
        _turn(u.unsqueeze(1).expand_as(delta)).reshape(batch, -1, length),
        _turn(delta).reshape(batch, -1, length),
        A.flatten(0, 2),
        _turn(B).flatten(1, 2),
        _turn(C).flatten(1, 2),
        None if D is None else D.flatten(),
        None,
        None if delta_bias is None else delta_bias.flatten(),
        delta_softplus,
    )
    return _turn(y.reshape(batch, directions, paths, channels, length)).sum(1)


def _turn(x: Tensor) -> Tensor:
    """Reverse the length of the second direction of (B, R, P, ..., L)."""
    if x.shape[1] == 1:
        return x
    return torch.stack((x[:, 0], x[:, 1].flip(-1)), 1)


def _grouped(x: Tensor, u: Tensor) -> Tensor:
    """Give a map of any accepted form the shape (B, G, N, L); a constant map becomes one group a channel."""
    if x.dim() == 2:
        return x[None, :, :, None].expand(u.shape[0], -1, -1, u.shape[2])
    return x.unsqueeze(1) if x.dim() == 3 else x


def _repeat_groups(x: Tensor, groups: int) -> Tensor:
    return x if x.shape[1] == groups else x.repeat_interleave(groups // x.shape[1], 1)


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.dim() != 3:
        raise ValueError(f"u has shape {tuple(u.shape)}: the scan takes (batch, channels, length)")
    batch, channels, length = u.shape
    if batch == 0 or channels == 0 or length == 0:
        raise ValueError(f"u has shape {tuple(u.shape)}: batch, channels and length must be at least 1")
    if A.dim() != 2 or A.shape[0] != channels:
        raise ValueError(f"A has shape {tuple(A.shape)}: it must be (channels, states) with {channels} channels")
    _same_shape("delta", delta, (batch, channels, length))
    if z is not None:
        _same_shape("z", z, (batch, channels, length))
    for name, value in (("D", D), ("delta_bias", delta_bias)):
        if value is not None:
            _same_shape(name, value, (channels,))
    for name, value in (("B", B), ("C", C)):
        _check_map(name, value, batch, channels, A.shape[1], length)
    _check_kind({"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias})


def _check_map(name: str, value: Tensor, batch: int, channels: int, states: int, length: int) -> None:
    shape = tuple(value.shape)
    if value.dim() == 2 and shape == (channels, states):
        return
    if value.dim() not in (3, 4) or shape[0] != batch or shape[-2:] != (states, length):
        raise ValueError(
            f"{name} has shape {shape}: it must be ({batch}, {states}, {length}), ({batch}, groups, {states}, "
            f"{length}) or constant ({channels}, {states})"
        )
    if value.dim() == 4 and (shape[1] == 0 or channels % shape[1]):
        raise ValueError(f"{name} has {shape[1]} groups: they must divide the {channels} channels of u")


def _check_bidirectional(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> None:
    if u.dim() != 4 or delta.dim() != 5:
        raise ValueError(
            f"u and delta have shapes {tuple(u.shape)} and {tuple(delta.shape)}: they must be (batch, paths, "
            "channels, length) and (batch, directions, paths, channels, length)"
        )
    batch, paths, channels, length = u.shape
    if 0 in u.shape:
        raise ValueError(f"u has shape {tuple(u.shape)}: every size must be at least 1")
    directions = delta.shape[1]
    if directions not in (1, 2):
        raise ValueError(f"delta has {directions} directions: use 1 (forwards) or 2 (forwards and backwards)")
    states = A.shape[-1]
    _same_shape("delta", delta, (batch, directions, paths, channels, length))
    _same_shape("A", A, (directions, paths, channels, states))
    _same_shape("B", B, (batch, directions, paths, states, length))
    _same_shape("C", C, (batch, directions, paths, states, length))
    for name, value in (("D", D), ("delta_bias", delta_bias)):
        if value is not None:
            _same_shape(name, value, (directions, paths, channels))
    _check_kind({"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "delta_bias": delta_bias})


def _same_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(value.shape)}: it must be {shape}, to fit the other arguments")


def _check_kind(tensors: dict[str, Tensor | None]) -> None:
    device = next(t.device for t in tensors.values() if t is not None)
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}: the scan takes real floating-point tensors")
        if tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device} and u on {device}: move all arguments to one device")
