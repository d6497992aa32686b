"""MD-Dose, VM-DDPM and other networks that make images, against their equations and with MONAI's schedulers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from medmamba_monai.networks.blocks.timesteps import FourierSteps
from medmamba_monai.networks.blocks.translation import reflect_pad
from medmamba_monai.networks.nets import VMDDPM, I2IMamba, MambaDFuse, MDDose
from tests.networks.cases import build
from tests.networks.equations import State, batch_norm, conv, layer_norm, mamba, mamba_inner, part, places_scan, ss2d
from tests.networks.inputs import inputs


def randomised(net: nn.Module) -> nn.Module:
    """The network with weights that no start has, so that every term matters."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in net.named_parameters():
            drawn = 0.3 * torch.randn(p.shape, generator=generator)
            p.copy_(1 + drawn if "norm" in name and name.endswith("weight") else drawn)
    return net.eval()


def turned(tokens: Tensor, height: int, width: int) -> Tensor:
    """Vim's rotation of tokens (B, L, C): pairs of channels are complex numbers, the first half turns with the row."""
    quarter = tokens.shape[-1] // 4
    numbers = torch.view_as_complex(tokens.unflatten(-1, (-1, 2)).contiguous())
    factors = torch.empty(height * width, 2 * quarter, dtype=torch.complex64)
    for i in range(height):
        for j in range(width):
            for k in range(quarter):
                speed = 10000 ** (-k / quarter)
                for start, place in ((0, 14 * i / height), (quarter, 14 * j / width)):
                    angle = place * speed
                    factors[i * width + j, start + k] = complex(math.cos(angle), math.sin(angle))
    return torch.view_as_real(numbers * factors).flatten(-2)


def rms_norm(x: Tensor, s: State, name: str) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * s[f"{name}.weight"]


def vim_layer(x: Tensor, s: State) -> Tensor:
    """Vim's mixer: both directions between shared projections, summed."""
    u, z = F.linear(x, s["in_proj.weight"]).movedim(-1, 1).chunk(2, 1)
    back = {**s, "A_log_b": s["A_b_log"]}
    y = mamba_inner(u, z, s) + mamba_inner(u.flip(-1), z.flip(-1), back, "_b").flip(-1)
    return F.linear(y.movedim(1, -1), s["out_proj.weight"])


def vim_stage(x: Tensor, s: State, depth: int) -> Tensor:
    """A stage of MD-Dose on a map of an even size that its positions are learned for."""
    side = s["patch_embed.weight"].shape[-1]
    x = F.conv2d(x, s["patch_embed.weight"], s["patch_embed.bias"], side)
    height, width = x.shape[2:]
    hidden, residual = x.flatten(2).transpose(1, 2) + s["pos_embed"], 0
    for i in range(depth):
        hidden = turned(hidden, height, width)
        residual = turned(residual, height, width) + hidden if i else hidden
        hidden = vim_layer(rms_norm(residual, s, f"norms.{i}"), part(s, f"mixers.{i}."))
    return rms_norm(residual + hidden, s, "norm").transpose(1, 2).unflatten(2, (height, width))


def md_dose(dose: Tensor, anatomy: Tensor, t: Tensor, s: State, depths: list[int], up_depths: list[int]) -> Tensor:
    """MD-Dose's noise predictor in the order of its authors' code."""
    angles = 2 * math.pi * t[:, None].double() * s["steps.frequencies"].double()
    embedded = torch.cat((angles.sin(), angles.cos()), 1).float()

    def step(name: str) -> Tensor:
        project = part(s, f"{name}.project.1.")
        return F.linear(F.silu(embedded), project["weight"], project["bias"])[:, :, None, None]

    y, known, skips = conv(dose, s, "stem"), conv(anatomy, s, "structure_stem"), []
    for i, depth in enumerate(depths):
        skips.append(y)
        known = vim_stage(known, part(s, f"structure_encoder.{i}."), depth)
        y = vim_stage(y, part(s, f"encoder.{i}."), depth) + known + step(f"encoder_steps.{i}")
    for i, depth in enumerate(up_depths):
        y = torch.cat((F.pixel_shuffle(conv(y, s, f"ups.{i}.conv"), 2), skips.pop()), 1)
        y = conv(y, s, f"fuses.{i}") if f"fuses.{i}.weight" in s else y
        y = vim_stage(y, part(s, f"decoder.{i}."), depth) + step(f"decoder_steps.{i}")
    return conv(y, s, "head")


def test_md_dose_follows_its_equations() -> None:
    depths, up_depths = [1, 2], [2, 1]
    net = randomised(MDDose(2, 1, 1, 2, 8, 8, depths, up_depths))
    dose, anatomy, t = torch.randn(2, 1, 8, 8), torch.randn(2, 2, 8, 8), torch.tensor([3, 870])
    expected = md_dose(dose, anatomy, t, net.state_dict(), depths, up_depths)
    torch.testing.assert_close(net(dose, t, anatomy), expected, atol=1e-4, rtol=1e-4)


def snake_scan(x: Tensor, s: State) -> Tensor:
    """Rows and columns both ways, every second line backwards, summed."""
    h, w = x.shape[2:]
    rows = [i * w + (w - 1 - j if i % 2 else j) for i in range(h) for j in range(w)]
    columns = [(h - 1 - i if j % 2 else i) * w + j for j in range(w) for i in range(h)]
    ways = [rows, columns, rows[::-1], columns[::-1]]
    return torch.stack(places_scan(x, s, ways)).sum(0).unflatten(2, (h, w))


def state_space_layer(x: Tensor, embedded: Tensor, s: State) -> Tensor:
    """VM-DDPM's layer: a residual block and a VSS block, both told the step."""

    def told(y: Tensor, name: str) -> Tensor:
        project = part(s, f"{name}step.project.1.")
        return y + F.linear(F.silu(embedded), project["weight"], project["bias"])[:, :, None, None]

    def normed(y: Tensor, name: str) -> Tensor:
        groups = y.shape[1] // 4
        return F.silu(F.group_norm(y, groups, s[f"{name}.weight"], s[f"{name}.bias"]))

    y = told(conv(normed(x, "local.norm1"), s, "local.conv1"), "local.")
    y = conv(normed(y, "local.norm2"), s, "local.conv2")
    y = told((conv(x, s, "local.skip") if "local.skip.weight" in s else x) + y, "").movedim(1, -1)
    mixer = part(s, "block.mixer.")
    mixer = {**mixer, "conv2d.weight": mixer["conv.weight"], "conv2d.bias": mixer["conv.bias"]}
    scanned, gate = ss2d(layer_norm(y, s, "block.norm"), mixer, snake_scan)
    return (y + F.linear(scanned * gate, mixer["out_proj.weight"])).movedim(-1, 1)


def test_vm_ddpm_follows_its_equations() -> None:
    net = randomised(VMDDPM(2, 1, 2, condition_channels=1, dims=[8, 16], depths=[1, 1]))
    s, x, mask, t = net.state_dict(), torch.randn(2, 1, 6, 4), torch.randn(2, 1, 6, 4), torch.tensor([3.0, 870.0])
    angles = t[:, None] * 10000 ** (-torch.arange(4) / 4)
    embedded = F.linear(torch.cat((angles.cos(), angles.sin()), 1), s["steps.0.weight"], s["steps.0.bias"])
    embedded = F.linear(F.silu(embedded), s["steps.2.weight"], s["steps.2.bias"])

    high = state_space_layer(conv(torch.cat((x, mask), 1), s, "stem"), embedded, part(s, "encoder.0.0."))
    low = state_space_layer(conv(high, s, "downs.0", stride=2), embedded, part(s, "encoder.1.0."))
    y = state_space_layer(low, embedded, part(s, "middle.0."))
    # a residual block without scan, which the layers above have been compared with
    y = net.middle[1](y, embedded)
    y = state_space_layer(torch.cat((y, low), 1), embedded, part(s, "decoder.0.0."))
    y = conv(y.repeat_interleave(2, 2).repeat_interleave(2, 3), s, "ups.0")
    y = state_space_layer(torch.cat((y, high), 1), embedded, part(s, "decoder.1.0."))
    y = F.silu(F.group_norm(y, 2, s["norm.weight"], s["norm.bias"]))
    torch.testing.assert_close(net(x, t, mask), conv(y, s, "head"), atol=1e-4, rtol=1e-4)


def test_fractions_of_thousands_of_turns_are_kept() -> None:
    torch.manual_seed(0)
    steps = FourierSteps(6)
    sines, cosines = steps(torch.tensor([999]))[0].chunk(2)
    for f, sine, cosine in zip(steps.frequencies.tolist(), sines.tolist(), cosines.tolist(), strict=True):
        assert math.isclose(sine, math.sin(2 * math.pi * 999 * f), abs_tol=1e-6)
        assert math.isclose(cosine, math.cos(2 * math.pi * 999 * f), abs_tol=1e-6)
    assert not list(steps.parameters()) and "frequencies" in steps.state_dict()


@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler])
def test_a_condition_is_a_context_or_more_channels(scheduler: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = MDDose(2, condition_channels=2, img_size=8, dim=8, depths=[1], depths_decoder=[1]).eval()
    inferer = DiffusionInferer(scheduler(num_train_timesteps=20))
    inferer.scheduler.set_timesteps(4)
    dose, anatomy, noise = torch.rand(2, 1, 9, 8), torch.rand(2, 2, 9, 8), torch.randn(2, 1, 9, 8)
    t = torch.tensor([0, 19])
    asked = [inferer(dose, net, noise, t, condition=anatomy, mode=mode) for mode in ("crossattn", "concat")]
    assert asked[0].shape == dose.shape
    torch.testing.assert_close(*asked)
    sampled = []
    for mode in ("crossattn", "concat"):
        torch.manual_seed(1)
        sampled.append(inferer.sample(noise, net, conditioning=anatomy, mode=mode, verbose=False))
    torch.testing.assert_close(*sampled)
    torch.manual_seed(1)
    other = inferer.sample(noise, net, conditioning=anatomy + 1, verbose=False)
    assert not torch.allclose(other, sampled[0])


def test_steps_and_conditions_must_fit() -> None:
    net = MDDose(2, condition_channels=2, img_size=8, dim=8, depths=[1], depths_decoder=[1])
    dose, anatomy = torch.zeros(3, 1, 8, 8), torch.zeros(3, 2, 8, 8)
    with pytest.raises(ValueError, match=r"timesteps has shape \(2,\): give one for each of 3 images"):
        net(dose, torch.zeros(2), anatomy)
    with pytest.raises(ValueError, match=r"context has shape .* give a map of shape \(3, 2, 8, 8\)"):
        net(dose, torch.zeros(3), anatomy[:, :1])
    with pytest.raises(ValueError, match="the network takes 3"):
        net(dose, torch.zeros(3))
    with pytest.raises(ValueError, match="condition_channels is 0"):
        MDDose(2, condition_channels=0, img_size=8, dim=8, depths=[1], depths_decoder=[1])(
            dose, torch.zeros(3), anatomy
        )
    with pytest.raises(ValueError, match="dim is 6: give a multiple of 4"):
        MDDose(2, dim=6)
    with pytest.raises(ValueError, match="depths_decoder has 2 entries: give one number, or 1"):
        MDDose(2, dim=8, depths=[1], depths_decoder=[1, 1])


def mamba_stack(x: Tensor, s: State, depth: int) -> tuple[Tensor, Tensor]:
    """MambaDFuse's layers: what the last one gives, and the sum that it was given."""
    total = torch.zeros_like(x)
    for i in range(depth):
        total = total + x
        x = mamba(layer_norm(total, s, f"{i}.0"), part(s, f"{i}.1."))
    return x, total


def modal_fusion(fused: Tensor, second: Tensor, first: Tensor, s: State, times: int) -> Tensor:
    """MambaDFuse's M3 block on tokens."""
    given, m, total = [fused, second, first], part(s, "mixer."), 0
    for i, (name, projection) in enumerate((("", "in_proj"), ("_b", "in_proj_extra1"), ("_c", "in_proj_extra2"))):
        for _ in range(times):
            given[i] = layer_norm(given[i], s, f"norms.{i}")
        u, z = F.linear(given[i], m[f"{projection}.weight"]).movedim(-1, 1).chunk(2, 1)
        total = total + mamba_inner(u, z, {**m, "A_log_b": m["A_b_log"], "A_log_c": m["A_b_log"]}, name)
    return F.linear(total.movedim(1, -1), m["out_proj.weight"])


def mamba_dfuse(images: list[Tensor], s: State, depths: tuple[int, int, int, int], released: bool) -> Tensor:
    """MambaDFuse in the order of its authors' code."""
    depth, swaps, fusions, last = depths
    size = images[0].shape[2:]

    def tokens(x: Tensor) -> Tensor:
        return layer_norm(x.flatten(2).transpose(1, 2), s, "norm")

    def grid(x: Tensor) -> Tensor:
        return x.transpose(1, 2).unflatten(2, size)

    (a, sum_a), (b, sum_b) = (
        mamba_stack(
            tokens(F.leaky_relu(conv(F.leaky_relu(conv(x, s, "stem.0"), 0.2), s, "stem.1"), 0.2)),
            part(s, f"encoder.{i}."),
            depth,
        )
        for i, x in enumerate(images)
    )
    for i in range(swaps):
        sum_a, sum_b = sum_a + a, sum_b + b
        c, d = layer_norm(sum_a, s, f"swaps.0.{i}.0"), layer_norm(sum_b, s, f"swaps.1.{i}.0")
        e, f = c.clone(), d.clone()
        e[..., ::2], f[..., ::2] = d[..., ::2], c[..., ::2]
        a, b = mamba(e, part(s, f"swaps.0.{i}.1.")), mamba(f, part(s, f"swaps.1.{i}.1."))
    a, b = grid(a), grid(b)
    c = conv(torch.cat((a, b), 1), s, "joins.0") + a
    d = conv(torch.cat((b, c if released else a), 1), s, "joins.1") + b
    first, second, y, total = tokens(c), tokens(d), tokens((c + d) / 2), 0
    for i in range(fusions):
        block, total = part(s, f"fusions.{i}."), total + y
        mixed = grid(modal_fusion(total, second, first, block, 2 if released else 1))
        y = (conv(mixed, block, "conv", mixed.shape[1]) + mixed).flatten(2).transpose(1, 2)
    y = grid(mamba_stack(tokens(grid(y)), part(s, "reconstruction."), last)[0])
    y = F.leaky_relu(conv(F.leaky_relu(conv(y, s, "head.0"), 0.2), s, "head.1"), 0.2)
    return conv(y, s, "head.2")


@pytest.mark.parametrize("design", ["paper", "released"])
def test_mamba_dfuse_follows_its_equations(design: str) -> None:
    depths = (2, 2, 2, 1)
    net = randomised(MambaDFuse(2, 1, 8, *depths, design=design))
    images = [torch.randn(2, 1, 4, 6), torch.randn(2, 1, 4, 6)]
    expected = mamba_dfuse(images, net.state_dict(), depths, design == "released")
    torch.testing.assert_close(net(*images), expected, atol=1e-4, rtol=1e-4)


def test_fused_images_must_be_alike() -> None:
    net = MambaDFuse(3, 1, 4, 1, 1, 1, 1)
    assert net(torch.zeros(1, 1, 3, 4, 5), torch.zeros(1, 1, 3, 4, 5)).shape == (1, 1, 3, 4, 5)
    with pytest.raises(ValueError, match="make them alike"):
        net(torch.zeros(1, 1, 3, 4, 5), torch.zeros(1, 1, 3, 4, 4))
    with pytest.raises(ValueError, match="dim is 6: give a multiple of 4"):
        MambaDFuse(2, 1, 6)


def spiral_places(height: int, width: int) -> list[int]:
    """From the first corner along the borders to the centre, turning right where there is no new place ahead."""
    left, place, step, found = {(i, j) for i in range(height) for j in range(width)}, (0, -1), (0, 1), []
    while left:
        ahead = (place[0] + step[0], place[1] + step[1])
        if ahead not in left:
            step = (step[1], -step[0])
            continue
        place = ahead
        left.remove(place)
        found.append(place[0] * width + place[1])
    return found


def reflected(x: Tensor, s: State, name: str) -> Tensor:
    weight = s[f"{name}.conv.weight"]
    return F.conv2d(F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect"), weight, s.get(f"{name}.conv.bias"))


def reflected_residual(x: Tensor, s: State) -> Tensor:
    y = F.relu(batch_norm(reflected(x, s, "conv1"), s, "norm1"))
    return x + batch_norm(reflected(y, s, "conv2"), s, "norm2")


def channel_mixed_block(x: Tensor, s: State) -> Tensor:
    """I2I-Mamba's block: both scans of a spiral, joined with the map, compressed by convolutions."""
    height, width = x.shape[2:]
    places, maps = spiral_places(height, width), []
    tokens = layer_norm(x.flatten(2).transpose(1, 2), s, "mixer.norm")
    for i, way in enumerate((places, places[::-1])):
        y = torch.empty_like(tokens)
        y[:, way] = mamba(tokens[:, way], part(s, f"mixer.mixers.{i}."))
        maps.append(y.transpose(1, 2).unflatten(2, (height, width)))
    x = torch.cat((x, conv(torch.cat(maps, 1), s, "mixer.project")), 1)
    y = F.relu(batch_norm(conv(x, s, "conv1"), s, "norm1"))
    y = F.relu(batch_norm(conv(y, s, "conv2"), s, "norm2") + batch_norm(conv(x, s, "skip"), s, "skip_norm"))
    return reflected_residual(y, part(s, "local."))


def test_i2i_mamba_follows_its_equations() -> None:
    net = randomised(I2IMamba(2, 2, 1, channels=4, blocks=3, mamba_blocks=[0, 2]))
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0))
    s, x = net.state_dict(), torch.randn(2, 2, 8, 12)
    high = F.relu(batch_norm(reflected(x, s, "encoder.0"), s, "encoder_norms.0"))
    middle = F.relu(batch_norm(conv(high, s, "encoder.1", stride=2), s, "encoder_norms.1"))
    low = F.relu(batch_norm(conv(middle, s, "encoder.2", stride=2), s, "encoder_norms.2"))
    y = channel_mixed_block(low, part(s, "bottleneck.0."))
    y = channel_mixed_block(reflected_residual(y, part(s, "bottleneck.1.")), part(s, "bottleneck.2."))
    for i, skip in enumerate((low, middle)):
        y = F.conv_transpose2d(torch.cat((y, skip), 1), s[f"ups.{i}.weight"], None, 2, 1, 1)
        y = F.relu(batch_norm(y, s, f"up_norms.{i}"))
    y = reflected(torch.cat((y, high), 1), s, "head").tanh()
    torch.testing.assert_close(net(x), y, atol=1e-4, rtol=1e-4)


def test_reflections_of_small_maps() -> None:
    x = torch.arange(3.0)[None, None, :, None].expand(1, 1, 3, 2)
    padded = reflect_pad(x, 3)
    assert padded[0, 0, :, 0].tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1]
    assert padded.shape == (1, 1, 9, 8)
    assert reflect_pad(torch.ones(1, 1, 1, 1), 2).tolist() == torch.ones(1, 1, 5, 5).tolist()


def test_translations_of_any_range_and_of_volumes() -> None:
    torch.manual_seed(0)
    given = {"channels": 2, "blocks": 1, "mamba_blocks": [0]}
    bounded, free = (I2IMamba(3, 1, 1, activation=name, **given).eval() for name in ("tanh", "none"))
    free.load_state_dict(bounded.state_dict())
    x = torch.randn(1, 1, 5, 6, 7)
    torch.testing.assert_close(bounded(x), free(x).tanh())
    with pytest.raises(ValueError, match="mamba_blocks is .1.: give numbers from 0 to 0"):
        I2IMamba(2, channels=2, blocks=1, mamba_blocks=[1])


@pytest.mark.parametrize("case", ["i2i_mamba_2d", "mamba_dfuse_2d", "md_dose_2d", "vm_ddpm_2d"])
def test_checkpoints_change_no_gradient(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, calls = [], []
    original = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "medmamba_monai.networks.blocks.checkpoint.checkpoint", lambda *a, **k: calls.append(1) or original(*a, **k)
    )
    for use in (False, True):
        net = build(case, use_checkpoint=use).train()
        net(*inputs(case, size=(9, 8))).square().mean().backward()
        found.append([p.grad for p in net.parameters()])
        assert bool(calls) is use
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-3)
