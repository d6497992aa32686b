"""The equations of restoration networks, written plainly on weights with their authors' names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks.equations import State, batch_norm, conv, cross_scan, layer_norm, mamba, part, scan


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


def channel_scan(means: Tensor, s: State) -> Tensor:
    """VmambaIR's scan along the channels, both ways, of their means (B, C)."""
    u = means[:, None]
    if "conv_cin.weight" in s:
        u = s["conv_cin.weight"].flatten()[:, None] * u + s["conv_cin.bias"][:, None]
    A_logs, Ds = s["Ac_logs"].unflatten(0, (2, -1)), s["Dsc"].unflatten(0, (2, -1))
    rank, states, total = s["dtc_projs_weight"].shape[2], A_logs.shape[2], 0
    for k in range(2):
        line = u.flip(-1) if k else u
        dt, B, C = (s["xc_proj_weight"][k] @ line).split([rank, states, states], 1)
        y = scan(line, s["dtc_projs_weight"][k] @ dt, A_logs[k], B, C, Ds[k], s["dtc_projs_bias"][k])
        total = total + (y.flip(-1) if k else y)
    if "conv_cout.weight" in s:
        total = (s["conv_cout.weight"].flatten()[:, None] * total).sum(1, keepdim=True) + s["conv_cout.bias"]
    return layer_norm(total[:, 0], s, "channel_norm.body")


def omni_block(x: Tensor, s: State) -> Tensor:
    """VmambaIR's block on a map (B, C, H, W)."""
    x, a = x.movedim(1, -1), part(s, "attn.")
    u, z = linear(layer_norm(x, s, "norm1.body"), a, "in_conv").chunk(2, -1)
    u = F.silu(map_conv(u, a, "conv2d", u.shape[-1]))
    y = layer_norm(cross_scan(u.movedim(-1, 1), a).movedim(1, -1), a, "out_norm.body") * F.silu(z)
    x = x + linear(y * channel_scan(y.mean((1, 2)), a)[:, None, None] + y, a, "out_conv")
    wide = linear(layer_norm(x, s, "norm2.body"), s, "ffn.project_in")
    gate, y = map_conv(wide, s, "ffn.dwconv", wide.shape[-1]).chunk(2, -1)
    return (x + linear(F.gelu(gate) * y, s, "ffn.project_out")).movedim(-1, 1)


def vmambair(x: Tensor, s: State, scale: int) -> Tensor:
    """VmambaIR with one block a level on an image (B, C, H, W) whose sides 8 divides; scale 1 or 4."""

    def block(y: Tensor, name: str) -> Tensor:
        return omni_block(y, part(s, f"{name}.0."))

    y = conv(x, s, "patch_embed.proj")
    skips = []
    for level in (1, 2, 3):
        skips.append(block(y, f"encoder_level{level}"))
        y = F.pixel_unshuffle(conv(skips[-1], s, f"down{level}_{level + 1}.body.0"), 2)
    y = block(y, "latent")
    for level in (3, 2, 1):
        y = torch.cat((F.pixel_shuffle(conv(y, s, f"up{level + 1}_{level}.body.0"), 2), skips.pop()), 1)
        if level > 1:
            y = conv(y, s, f"reduce_chan_level{level}")
        y = block(y, f"decoder_level{level}")
    y = block(y, "refinement")
    if scale == 1:
        return conv(y, s, "output") + x
    for place in (0, 2):
        y = F.pixel_shuffle(conv(y, s, f"tail.0.{place}"), 2)
    return conv(y, s, "tail.1") + x.repeat_interleave(4, 2).repeat_interleave(4, 3)


def tokens_of(x: Tensor, released: bool) -> Tensor:
    """The places of a map (B, C, H, W) as tokens, or its memory read as tokens."""
    return x.reshape(x.shape[0], -1, x.shape[1]) if released else x.permute(0, 2, 3, 1).flatten(1, 2)


def map_of(tokens: Tensor, x: Tensor, released: bool) -> Tensor:
    """The map like another one that tokens make."""
    return tokens.reshape(x.shape) if released else tokens.transpose(1, 2).reshape(x.shape)


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def frequency_block(x: Tensor, s: State, released: bool) -> Tensor:
    """FD-Vision Mamba's block on a map (B, C, H, W)."""
    spectrum = torch.fft.fft2(x)
    raw = (spectrum.real, spectrum.imag) if released else (spectrum.abs(), spectrum.angle())
    axis = 0 if released else 1

    def convolved(t: Tensor, name: str) -> Tensor:
        weight, bias = s[f"{name}.weight"], s[f"{name}.bias"]
        y = t if released else t.transpose(1, 2)
        y = F.conv1d(y, weight, bias, padding=1)
        return y if released else y.transpose(1, 2)

    scanned, weights = [], []
    for i, y in enumerate(raw, 1):
        y = y + conv(F.relu(conv(y, s, "convb.0")), s, "convb.2")
        t = mamba(layer_norm(tokens_of(y, released), s, "ln"), part(s, f"model{i}."))
        weights.append(t.softmax(axis))
        scanned.append(convolved(t, f"con1_{i}") * weights[-1])
    first = convolved(weights[0], "cross_1")
    second = first if released else convolved(weights[1], "cross_2")
    made = [
        raw[0] + map_of(scanned[0] + first * second.softmax(axis), x, released),
        raw[1] + map_of(scanned[1] + first.softmax(axis) * second, x, released),
    ]
    return torch.fft.ifft2(torch.complex(*made) if released else torch.polar(*made)).real


def fd_vision_mamba(x: Tensor, s: State, side: int, released: bool) -> Tensor:
    """FD-Vision Mamba with two blocks."""
    y = resized(x, (side, side))
    for i in range(2):
        y = frequency_block(y, part(s, f"feats.{i}."), released)
    y = resized(y, x.shape[2:])
    return x + (torch.sigmoid(y) if released else y)


def place_and_channel_scan(x: Tensor, s: State, released: bool) -> Tensor:
    """UVM-Net's block on a map (B, C, H, W)."""
    x = x + conv(F.relu(conv(x, s, "convb.0")), s, "convb.2")
    t = layer_norm(tokens_of(x, released), s, "ln")
    y = mamba(mamba(t, part(s, "model1.")).transpose(1, 2), part(s, "model3.")).transpose(1, 2)
    weights = mamba(t, part(s, "model2.")).softmax(0 if released else 1)
    return conv(map_of(weights * y, x, released), s, "smooth")


def uvm_stage(x: Tensor, s: State, side: int, released: bool) -> Tensor:
    """UVM-Net's stage, in evaluation mode."""
    mixed = place_and_channel_scan(resized(x, (side, side)), part(s, "ub."), released)
    y = x + resized(mixed, x.shape[2:])
    y = F.relu(batch_norm(conv(y, s, "double_conv.0"), s, "double_conv.1"))
    return F.relu(batch_norm(conv(y, s, "double_conv.3"), s, "double_conv.4"))


def uvm_net(x: Tensor, s: State, side: int, released: bool) -> Tensor:
    """UVM-Net of three levels on an image (B, C, H, W)."""
    skips = [uvm_stage(x, part(s, "inc."), side, released)]
    for i in (1, 2):
        skips.append(uvm_stage(F.max_pool2d(skips[-1], 2), part(s, f"down{i}.maxpool_conv.1."), side, released))
    y = skips.pop()
    for i in (1, 2):
        skip, y = skips.pop(), F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)
        down, right = skip.shape[2] - y.shape[2], skip.shape[3] - y.shape[3]
        y = F.pad(y, (right // 2, right - right // 2, down // 2, down - down // 2))
        y = uvm_stage(torch.cat((skip, y), 1), part(s, f"up{i}.conv."), side, released)
    return conv(y, s, "outc.conv") + x
