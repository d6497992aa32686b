"""The equations of restoration networks, written plainly on weights with their authors' names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks.equations import State, conv, layer_norm, part, scan


def linear(x: Tensor, s: State, name: str) -> Tensor:
    """A linear map of the last axis; a pointwise convolution is one too."""
    return F.linear(x, s[f"{name}.weight"].flatten(1), s.get(f"{name}.bias"))


def map_conv(x: Tensor, s: State, name: str, groups: int = 1) -> Tensor:
    """A convolution of (B, H, W, C)."""
    return conv(x.movedim(-1, 1), s, name, groups).movedim(1, -1)


def window_attention(x: Tensor, s: State, window: int, shift: int, heads: int) -> Tensor:
    """Attention inside the windows of (B, H, W, C), window by window and head by head."""
    h, w, c = x.shape[1:]
    qkv = linear(x, s, "wqkv").roll((-shift, -shift), (1, 2))
    offsets = torch.arange(window)
    rows, columns = offsets.repeat_interleave(window), offsets.repeat(window)
    far = (rows[:, None] - rows + window - 1) * (2 * window - 1) + columns[:, None] - columns + window - 1
    out = torch.zeros_like(x)
    for top in range(0, h, window):
        for left in range(0, w, window):
            q, k, v = qkv[:, top : top + window, left : left + window].flatten(1, 2).chunk(3, -1)
            # what was rolled in from the other side of the image
            rolled = torch.stack((top + rows >= h - shift, left + columns >= w - shift), -1)
            apart = (rolled[:, None] != rolled).any(-1) if shift else torch.zeros_like(far, dtype=torch.bool)
            results = []
            for head in range(heads):
                n = slice(head * c // heads, (head + 1) * c // heads)
                scores = q[..., n] @ k[..., n].transpose(1, 2) * (c // heads) ** -0.5
                scores = scores + s["win_mhsa.relative_position_bias_table"][far, head] - 100.0 * apart
                results.append(scores.softmax(-1) @ v[..., n])
            joined = torch.cat(results, -1).unflatten(1, (window, window))
            out[:, top : top + window, left : left + window] = joined
    return linear(out, s, "win_mhsa.proj").roll((shift, shift), (1, 2))


def attentive_scan(x: Tensor, s: State, own_prompts: bool) -> Tensor:
    """MambaIRv2's scan of (B, H, W, C) with each token's likeliest class; each token with its own prompt or not."""
    h, w = x.shape[1:3]
    scores = linear(F.gelu(linear(x, s, "assm.route.0")), s, "assm.route.2")
    table = s["assm.embeddingB.weight"] @ s["embeddingA.weight"]
    u = linear(x, s, "assm.in_proj.0")
    u = u * torch.sigmoid(map_conv(u, s, "assm.CPE.0", u.shape[-1]))
    core = part(s, "assm.selectiveScan.")
    rank, states = core["dt_projs_weight"].shape[2], core["A_logs"].shape[1]
    results = []
    for tokens, likely in zip(u.flatten(1, 2), scores.flatten(1, 2).argmax(-1), strict=True):
        order = sorted(range(h * w), key=likely.tolist().__getitem__)
        line = tokens[order].t()[None]
        dt, B, C = (core["x_proj_weight"][0] @ line).split([rank, states, states], 1)
        C = C + (table[likely[order]] if own_prompts else table[likely]).t()
        dt = core["dt_projs_weight"][0] @ dt
        y = scan(line, dt, core["A_logs"], B, C, core["Ds"], core["dt_projs_bias"][0])[0].t()
        back = torch.zeros_like(y)
        back[order] = y
        results.append(back)
    y = torch.stack(results).unflatten(1, (h, w))
    return linear(layer_norm(y, s, "assm.out_norm"), s, "assm.out_proj")


def attentive_mlp(x: Tensor, s: State) -> Tensor:
    """MambaIRv2's MLP, or that of its light networks where there is a gate."""
    y = F.gelu(linear(x, s, "fc1"))
    if "sg.norm.weight" in s:
        kept, gate = y.chunk(2, -1)
        y = kept * map_conv(layer_norm(gate, s, "sg.norm"), s, "sg.conv", kept.shape[-1])
    else:
        y = y + F.gelu(map_conv(y, s, "dwconv.depthwise_conv.0", y.shape[-1]))
    return linear(y, s, "fc2")


def attentive_layer(x: Tensor, s: State, window: int, shift: int, heads: int, own_prompts: bool) -> Tensor:
    """MambaIRv2's layer on (B, H, W, C)."""
    y = x + window_attention(layer_norm(x, s, "norm1"), s, window, shift, heads)
    y = y + attentive_mlp(layer_norm(y, s, "norm2"), part(s, "convffn1."))
    x = s["scale1"] * x + y
    y = x + attentive_scan(layer_norm(x, s, "norm3"), s, own_prompts)
    y = y + attentive_mlp(layer_norm(y, s, "norm4"), part(s, "convffn2."))
    return s["scale2"] * x + y


def mambair_v2(x: Tensor, s: State, window: int, heads: int, own_prompts: bool, upsampler: str) -> Tensor:
    """MambaIRv2 with one group, on an image (B, C, H, W) of at least half a window: upsampler "", "direct" or "x2"."""
    h, w = x.shape[2:]
    image = torch.cat((x, x.flip(2)), 2)[:, :, : -(-h // window) * window]
    image = torch.cat((image, image.flip(3)), 3)[..., : -(-w // window) * window]
    first = conv(image, s, "conv_first")
    tokens = y = layer_norm(first.movedim(1, -1), s, "patch_embed.norm")
    for i in range(2):
        layer = part(s, f"layers.0.residual_group.layers.{i}.")
        y = attentive_layer(y, layer, window, i * (window // 2), heads, own_prompts)
    y = tokens + map_conv(y, s, "layers.0.conv")
    y = conv(layer_norm(y, s, "norm").movedim(-1, 1), s, "conv_after_body") + first
    if upsampler == "direct":
        return F.pixel_shuffle(conv(y, s, "upsample.0"), 2)[..., : 2 * h, : 2 * w]
    if upsampler == "x2":
        y = F.pixel_shuffle(conv(F.leaky_relu(conv(y, s, "conv_before_upsample.0")), s, "upsample.0"), 2)
        return conv(y, s, "conv_last")[..., : 2 * h, : 2 * w]
    return (image + conv(y, s, "conv_last"))[..., :h, :w]
