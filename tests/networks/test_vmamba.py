"""What only VMamba does: pyramids, freezing, its forms."""

from __future__ import annotations

import pytest
import torch

from medmamba_monai.networks.blocks.patches import PatchExpand, PatchMerging
from medmamba_monai.networks.blocks.vss import VSSEncoder
from medmamba_monai.networks.nets import VMamba


def small(**arguments: object) -> VMamba:
    torch.manual_seed(0)
    return VMamba(2, 1, **{"num_classes": 3, "depths": [1, 2], "dims": [8, 16], **arguments}).eval()


def test_the_pyramid_is_that_of_the_classifier() -> None:
    net, x = small(), torch.randn(2, 1, 20, 17)
    pyramid = small(features_only=True)
    pyramid.encoder.load_state_dict(net.encoder.state_dict())
    maps = pyramid(x)
    assert [m.shape for m in maps] == [(2, 8, 5, 5), (2, 16, 3, 3)]
    pooled = net.norm(maps[-1].movedim(1, -1)).mean((1, 2))
    torch.testing.assert_close(net.head(pooled), net(x))
    assert not any("head" in key or key.startswith("norm") for key in pyramid.state_dict())


def test_features_instead_of_logits() -> None:
    assert small(num_classes=0)(torch.zeros(2, 1, 16, 16)).shape == (2, 16)


def test_drop_path_grows_over_the_blocks() -> None:
    net = VMamba(2, 1, 2, depths=[1, 2], dims=[8, 16], drop_path_rate=0.5)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in net.encoder.stages for block in stage]
    assert rates == [0.0, 0.25, 0.5]


def test_freezing() -> None:
    encoder = VSSEncoder(2, 1, [1], [8])
    encoder.freeze(patch_embed=False)
    assert {name.split(".")[0] for name, p in encoder.named_parameters() if p.requires_grad} == {"patch_embed"}
    encoder.freeze(frozen=False)
    assert all(p.requires_grad for p in encoder.parameters())


def test_stage_inputs_lead_to_the_results() -> None:
    encoder, x = VSSEncoder(2, 1, [1, 1], [8, 16]).eval(), torch.randn(1, 1, 16, 16)
    inputs, results = encoder.stage_inputs(x), encoder(x)
    torch.testing.assert_close(encoder.stages[0](inputs[0]), results[0])
    torch.testing.assert_close(inputs[1], encoder.merges[0](results[0]))
    assert torch.equal(inputs[2], results[1])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_expanding_undoes_merging(spatial_dims: int) -> None:
    grid = torch.randn(1, *(4, 6, 2)[:spatial_dims], 1)
    merge, expand = PatchMerging(spatial_dims, 1), PatchExpand(spatial_dims, 2**spatial_dims, 1)
    seen = []
    merge.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    merge(grid)
    # merging names the neighbours with the first axis fastest, expanding with the last
    axes = tuple(reversed(range(spatial_dims)))
    order = torch.arange(2**spatial_dims).reshape((2,) * spatial_dims).permute(axes).flatten()
    with torch.no_grad():
        expand.expand.weight.copy_(torch.eye(2**spatial_dims)[order])
    expand.norm = torch.nn.Identity()
    torch.testing.assert_close(expand(seen[0]), grid)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dims": [8, 24]}, "twice"),
        ({"embed": "token"}, "embed is 'token'"),
        ({"merge": "max"}, "merge is 'max'"),
        ({"norm": "group"}, "norm is 'group'"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
        ({"embed": "overlap", "patch_size": 3}, "patch_size is 3"),
        ({"num_classes": -1}, "num_classes is -1"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        small(**arguments)
