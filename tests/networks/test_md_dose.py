"""MD-Dose against its equations and with MONAI's schedulers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from medmamba_monai.networks.blocks.timesteps import FourierSteps
from medmamba_monai.networks.nets import MDDose
from tests.networks.equations import State, conv, mamba_inner, part
from tests.networks.randomised import randomised


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
