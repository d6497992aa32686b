"""The attentive scan of MambaIRv2: one pass over tokens that are sorted by a learned class, each with its prompt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medmamba_monai.networks.layers.mamba import initial_A_log, initial_dt_bias, resolve_dt_rank
from medmamba_monai.networks.layers.precision import autocast_dtype, without_autocast
from medmamba_monai.ops import scan_order, selective_scan


class SemanticScan(nn.Module):
    """Give each token a class and the class's prompt, sort tokens by class, scan them once, and sort them back.

    MambaIRv2 (arXiv 2411.15269), section 3.3: the attentive state-space equation y = (C + P) h + D u with prompts P,
    and semantic guided neighbouring.

    Args:
        d_model: channels of a token.
        spatial_dims: 2 or 3.
        d_state: numbers in the state of each channel (N), and in a prompt.
        expand: the inner width is ``int(expand * d_model)``.
        num_tokens: classes, each with a prompt.
        inner_rank: rank of the table of prompts.
        dt_rank: rank of the step size's projection, or "auto" for a sixteenth of the inner width.
        design: "sound", or "released" for what the authors' code computes, see Notes.

    Shape:
        x (B, *S, d_model), channels last; returns the same shape.

    Raises:
        ValueError: when an argument is out of range or the input does not fit.

    Example:
        >>> SemanticScan(8, num_tokens=4, inner_rank=2)(torch.zeros(2, 5, 4, 8)).shape
        torch.Size([2, 5, 4, 8])

    Notes:
        While training, classes are drawn by the Gumbel softmax, in evaluation mode each token has its likeliest class;
        gradients pass both straight through. The authors' code draws there too, so that calls differ, and adds the
        prompts in the order of the grid to tokens that are sorted already, so that most tokens get a prompt of
        another; ``design="released"`` does both. The scan is in float32 whatever autocast asks.
    """

    def __init__(
        self,
        d_model: int,
        spatial_dims: int = 2,
        d_state: int = 16,
        expand: float = 2,
        num_tokens: int = 64,
        inner_rank: int = 32,
        dt_rank: int | str = "auto",
        design: str = "sound",
    ) -> None:
        super().__init__()
        sizes = {"d_model": d_model, "d_state": d_state, "num_tokens": num_tokens, "inner_rank": inner_rank}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")
        if design not in ("sound", "released"):
            raise ValueError(f"design is {design!r}: use one of 'sound', 'released'")
        self.d_model, self.d_state, self.d_inner = d_model, d_state, int(expand * d_model)
        if self.d_inner < 1:
            raise ValueError(f"expand is {expand}: the inner width int(expand * {d_model}) must be at least 1")
        inner, self.dt_rank = self.d_inner, resolve_dt_rank(dt_rank, self.d_inner)
        self.order, self.released = scan_order("semantic", spatial_dims), design == "released"
        narrow = max(d_model // 3, 1)
        self.route = nn.Sequential(nn.Linear(d_model, narrow), nn.GELU(), nn.Linear(narrow, num_tokens))
        self.prompts_left = nn.Parameter(torch.empty(num_tokens, inner_rank).uniform_(-1 / num_tokens, 1 / num_tokens))
        self.prompts_right = nn.Parameter(torch.empty(inner_rank, d_state).uniform_(-1 / inner_rank, 1 / inner_rank))
        self.in_proj = nn.Linear(d_model, inner)
        self.conv = Conv[Conv.CONV, spatial_dims](inner, inner, 3, padding=1, groups=inner)
        self.x_proj_weight = nn.Parameter(torch.empty(1, self.dt_rank + 2 * d_state, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(1, inner, self.dt_rank))
        self.dt_projs_bias = nn.Parameter(initial_dt_bias((1, inner)))
        self.A_logs = nn.Parameter(initial_A_log(inner, d_state))
        self.Ds = nn.Parameter(torch.ones(inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, d_model)
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.dt_projs_weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != self.order.spatial_dims + 2 or x.shape[-1] != self.d_model:
            axes = self.order.spatial_dims
            raise ValueError(f"the input has shape {tuple(x.shape)}: give (batch, {axes} grid axes, {self.d_model})")
        if autocast_dtype(x) == torch.float16:
            with without_autocast(x):
                return self._mix(x.float())
        return self._mix(x)

    def classes(self, x: Tensor) -> Tensor:
        """The class of each token, one-hot: (B, *S, d_model) to (B, *S, num_tokens)."""
        scores: Tensor = self.route(x).log_softmax(-1)
        if self.training or self.released:
            return F.gumbel_softmax(scores, hard=True, dim=-1)
        likeliest = torch.zeros_like(scores).scatter(-1, scores.argmax(-1, keepdim=True), 1.0)
        if not scores.requires_grad:
            return likeliest
        soft = scores.exp()
        return likeliest - soft.detach() + soft

    def _mix(self, x: Tensor) -> Tensor:
        size, classes = x.shape[1:-1], self.classes(x)
        order = self.order.bind(classes.movedim(-1, 1))
        u = self.in_proj(x).movedim(-1, 1)
        u = order.sequences(u * torch.sigmoid(self.conv(u)))[:, 0]
        prompts = (classes @ (self.prompts_left @ self.prompts_right)).movedim(-1, 1)
        moved = prompts.flatten(2) if self.released else order.sequences(prompts)[:, 0]
        dt, B, C = (self.x_proj_weight[0] @ u).split_with_sizes((self.dt_rank, self.d_state, self.d_state), 1)
        y = selective_scan(
            u,
            self.dt_projs_weight[0] @ dt,
            -torch.exp(self.A_logs.float()),
            B,
            C + moved.to(C.dtype),
            self.Ds.float(),
            None,
            self.dt_projs_bias[0].float(),
            delta_softplus=True,
        )
        assert isinstance(y, Tensor)
        grid = order.restore(y.unsqueeze(1), size)[:, 0].movedim(1, -1)
        mixed: Tensor = self.out_proj(self.out_norm(grid))
        return mixed
