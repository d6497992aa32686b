"""Dose of radiotherapy by a diffusion network: its input, a sampler of few steps, training batches, the loss."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.engines import PrepareBatch
from monai.networks.schedulers import DDIMScheduler
from monai.transforms import distance_transform_edt
from monai.transforms.transform import MapTransform, Transform
from torch import Tensor, nn

__all__ = [
    "DoseDiffusion",
    "DoseInBodyd",
    "DoseInGrayd",
    "DoseLoss",
    "NoisyDose",
    "PlanInput",
    "negative_dose_error",
    "negative_error_in_gray",
]

PRESCRIBED = (56.0, 63.0, 70.0)  # Gray, of targets 1, 2, 3
ORGANS = 5
BODY = -400.0  # Hounsfield units; below is air
HIGHEST = 85.0  # Gray; no plan of the set reaches it
BYTE = 0.64  # Gray of a stored unit
REACH = 40.0  # millimetres over which the distance from the targets is told
TILE = 64  # side of the noise that sampling starts from; it is repeated


class DoseInGrayd(MapTransform):
    """Turns doses stored as bytes (Gray / 0.64) into Gray; a dose in Gray stays as it is.

    Args:
        keys: keys of doses.
        allow_missing_keys: skip keys that an item lacks.

    Example:
        >>> DoseInGrayd("dose")({"dose": torch.tensor([0.0, 100.0])})["dose"].tolist()
        [0.0, 64.0]
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = item[key] * BYTE if float(item[key].max()) > HIGHEST else item[key]
        return item


class PlanInput(Transform):
    """Makes the network's input of a patient, and what it shall predict where the dose is known.

    ``image`` becomes eight channels: CT from -400 to 620 Hounsfield units as 0 to 1, five masks of organs, the
    prescribed dose of the target over 70 Gray, and nearness to a target, 1 inside and falling to 0 at 40 mm. With
    ``dose`` the ``label`` becomes two channels: dose over 70 Gray, and the body.

    Shape:
        ``image`` (CT in Hounsfield units), ``label`` (organs), ``ptv`` (targets) and ``dose`` (Gray), (1, *S) each.

    Example:
        >>> part = torch.zeros(1, 4, 4, 4)
        >>> PlanInput()({"image": part, "label": part, "ptv": part + 3, "dose": part})["image"].shape
        torch.Size([8, 4, 4, 4])
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        ct, organs, targets = (torch.as_tensor(item[key]).float() for key in ("image", "label", "ptv"))
        prescribed = sum((targets == n) * (gray / PRESCRIBED[-1]) for n, gray in enumerate(PRESCRIBED, start=1))
        spacing = affine_to_spacing(item["image"].affine, 3).tolist() if isinstance(item["image"], MetaTensor) else None
        away: Any = distance_transform_edt((targets == 0).numpy(), sampling=spacing)
        near = (1 - torch.as_tensor(away).float() / REACH).clamp(0, 1)
        masks = [organs == number for number in range(1, ORGANS + 1)]
        scaled = ((ct + 400) / 1020).clamp(0, 1)
        near = near * bool((targets > 0).any())
        whole = torch.cat([scaled, *masks, torch.as_tensor(prescribed), near])
        item["image"] = _like(whole.float(), item["image"])
        if "dose" in item:
            label = torch.cat((torch.as_tensor(item["dose"]).float() / PRESCRIBED[-1], (ct > BODY).float()))
            item["label"] = _like(label, item["dose"])
        return item


def _like(x: Tensor, image: Any) -> Tensor:
    """The tensor with the geometry of an image and what was done to it."""
    if not isinstance(image, MetaTensor):
        return x
    found = MetaTensor(x)
    found.copy_meta_from(image)  # type: ignore[no-untyped-call]
    return found


class DoseDiffusion(nn.Module):
    """A diffusion network that predicts the dose itself, with a sampler of few steps by MONAI's DDIM scheduler.

    Args:
        network: takes the noisy dose, the steps and the anatomy as context, as MONAI's DiffusionModelUNet.
        scheduler: MONAI's DDIM scheduler with ``prediction_type`` "sample".
        steps: steps of the sampler, evenly spaced from the last step of training; a divisor of the number of those.

    Shape:
        image (B, C, *S): the anatomy; returns the dose (B, 1, *S). With ``noisy`` (B, 1, *S) and ``timesteps`` (B,)
        one pass of the network, for training.

    Raises:
        ValueError: when the scheduler predicts something else, or the steps do not divide its steps.

    Example:
        >>> from medmamba_monai.networks.nets import MDDose
        >>> net = MDDose(2, condition_channels=2, img_size=16, dim=8, depths=[1, 1], depths_decoder=[1, 1])
        >>> dose = DoseDiffusion(net, DDIMScheduler(1000, prediction_type="sample"), 2)
        >>> dose(torch.zeros(1, 2, 16, 16)).shape
        torch.Size([1, 1, 16, 16])

    Notes:
        Sampling starts from the same noise each time, so the same patient gets the same dose.
    """

    start: Tensor

    def __init__(self, network: nn.Module, scheduler: DDIMScheduler, steps: int = 4) -> None:
        super().__init__()
        whole = scheduler.num_train_timesteps
        if str(scheduler.prediction_type) != "sample":
            raise ValueError(f"the scheduler predicts {scheduler.prediction_type}: give prediction_type 'sample'")
        if steps < 1 or whole % steps:
            raise ValueError(f"steps is {steps}: give a divisor of the scheduler's {whole} steps")
        self.network, self.scheduler = network, scheduler
        # from the last step of training, which is all noise, down to the clean dose
        scheduler.steps_offset = whole // steps - 1
        scheduler.set_timesteps(steps)
        self.levels: list[int] = scheduler.timesteps.tolist()
        noise = torch.randn(TILE, TILE, generator=torch.Generator().manual_seed(0))
        self.register_buffer("start", noise, persistent=False)

    def forward(self, image: Tensor, noisy: Tensor | None = None, timesteps: Tensor | None = None) -> Tensor:
        if noisy is not None:
            known: Tensor = self.network(noisy, timesteps, image)
            return known
        x = self._noise(image)
        for level in self.levels:
            found = self.network(x, torch.full((image.shape[0],), level, device=image.device), image)
            x, _ = self.scheduler.step(found, level, x)
        return x

    def _noise(self, image: Tensor) -> Tensor:
        rows, columns = (torch.arange(n, device=image.device) % TILE for n in image.shape[-2:])
        plane = self.start[rows][:, columns].to(image.dtype)
        return plane.expand(image.shape[0], 1, *image.shape[2:])


class NoisyDose(PrepareBatch):
    """Makes a training batch of a diffusion network: doses with noise of a random step, beside the clean ones.

    Args:
        scheduler: MONAI's scheduler, which adds the noise.
    """

    def __init__(self, scheduler: DDIMScheduler) -> None:
        self.scheduler = scheduler

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[Any, ...], dict[str, Tensor]]:
        image, label = (batchdata[key].to(device=device, non_blocking=non_blocking) for key in ("image", "label"))
        dose = label[:, :1]
        steps = torch.randint(0, self.scheduler.num_train_timesteps, (len(dose),), device=dose.device)
        noisy = self.scheduler.add_noise(dose, torch.randn_like(dose), steps)
        return image, label, (), {"noisy": noisy, "timesteps": steps}


class DoseLoss(nn.Module):
    """Mean absolute error of the dose; outside the body it counts a tenth.

    Shape:
        pred (B, 1, *S); label (B, 2, *S), the dose and the body.

    Example:
        >>> label = torch.tensor([[[[0.5, 0.0]], [[1.0, 0.0]]]])
        >>> round(float(DoseLoss()(torch.zeros(1, 1, 1, 2), label)), 3)
        0.455
    """

    def forward(self, pred: Tensor, label: Tensor) -> Tensor:
        weight = 0.1 + 0.9 * label[:, 1:].float()
        return ((pred.float() - label[:, :1].float()).abs() * weight).sum() / weight.sum()


def negative_dose_error(pred: Tensor, label: Tensor) -> Tensor:
    """Minus the mean absolute error inside the body in Gray, of doses over 70 Gray; larger is better.

    Shape:
        pred (B, 1, *S); label (B, 2, *S), the dose and the body; returns (B, 1).

    Example:
        >>> negative_dose_error(torch.zeros(1, 1, 1, 1), torch.tensor([[[[0.5]], [[1.0]]]])).tolist()
        [[-35.0]]
    """
    return PRESCRIBED[-1] * negative_error_in_gray(pred, label)


def negative_error_in_gray(pred: Tensor, label: Tensor) -> Tensor:
    """Minus the mean absolute error inside the body, in the unit of the doses.

    Shape:
        as :func:`negative_dose_error`.
    """
    body = label[:, 1:].flatten(1)
    error = (pred - label[:, :1]).abs().flatten(1) * body
    return -error.sum(1, keepdim=True) / body.sum(1, keepdim=True).clamp_min(1)


class DoseInBodyd(MapTransform):
    """Turns predictions over 70 Gray into Gray, nowhere below 0, and 0 outside the body.

    Args:
        keys: keys of predicted doses.
        ct: key of the CT in Hounsfield units on the same grid.
        planned: key of the planned dose in Gray; with it ``measured`` holds that dose and the body as two channels.

    Example:
        >>> item = {"pred": torch.tensor([0.5, -0.1, 0.5]), "ct": torch.tensor([0.0, 0.0, -1000.0])}
        >>> DoseInBodyd("pred", "ct")(item)["pred"].tolist()
        [35.0, 0.0, 0.0]
    """

    def __init__(self, keys: KeysCollection, ct: str = "ct", planned: str | None = None) -> None:
        super().__init__(keys)
        self.ct, self.planned = ct, planned

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        body = item[self.ct] > BODY
        for key in self.key_iterator(item):
            item[key] = (item[key] * PRESCRIBED[-1]).clamp(min=0) * torch.as_tensor(body).to(item[key].device)
        if self.planned is not None:
            item["measured"] = torch.cat((torch.as_tensor(item[self.planned]), torch.as_tensor(body)))
        return item
