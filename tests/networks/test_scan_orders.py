"""Mixers with every scan order, against their definition written out sequence by sequence; the merges."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medmamba_monai.networks.blocks.vss import VSSEncoder
from medmamba_monai.networks.layers.channel_scan import ChannelScan
from medmamba_monai.networks.layers.merges import MERGES, ScanMerge
from medmamba_monai.networks.layers.scan_mixer import ScanMixer
from medmamba_monai.networks.layers.sequence_mixer import SequenceMixer
from medmamba_monai.networks.nets import ComposedUNet, MedMamba, VMamba
from medmamba_monai.ops import ScanOrder, selective_scan
from medmamba_monai.ops.scan_orders.table import ORDERS

SIZES = {2: (3, 5), 3: (2, 3, 3)}
INNER = [(name, dims) for name in ORDERS for dims in ORDERS[name].paths if not ORDERS[name].channels]


def scanned(mixer: ScanMixer, order: ScanOrder, u: Tensor, first: int) -> Tensor:
    """All sequences of an order, each part of each scanned alone: (B, D, *S) to (B, K, D, *S)."""
    size, inner = u.shape[2:], u.shape[1]
    outputs = []
    for k, sequence in enumerate(order.sequences(u).unbind(1), 0 if order.shared else first):
        i = 0 if order.shared else k
        n = slice(i * inner, (i + 1) * inner)
        lines = []
        for line in sequence.chunk(order.segments(size), -1):
            dt, B, C = (mixer.x_proj_weight[i] @ line).split([mixer.dt_rank, mixer.d_state, mixer.d_state], 1)
            delta, A, bias = mixer.dt_projs_weight[i] @ dt, -mixer.A_logs[n].exp(), mixer.dt_projs_bias[i]
            D = mixer.Ds[n]
            lines.append(selective_scan(line, delta, A, B, C, D, None, bias, True, backend="reference"))
        outputs.append(torch.cat(lines, -1))
    return order.restore(torch.stack(outputs, 1), size)


def by_definition(mixer: ScanMixer, x: Tensor) -> Tensor:
    u, z = mixer.in_proj(x).chunk(2, -1)
    u = F.silu(mixer.conv(u.movedim(-1, 1)))
    order, first = mixer.order.bind(u), 0
    for part in order.one_by_one():
        if order.cascade:
            u = F.layer_norm(u.movedim(1, -1), u.shape[1:2]).movedim(-1, 1)
        groups = [scanned(mixer, part, group, first) for group in u.chunk(order.groups, 1)]
        torch.manual_seed(1)
        u = torch.cat([mixer.merge(grids) for grids in groups], 1)
        first += part.num_sequences
    return mixer.out_proj(mixer.out_norm(u.movedim(1, -1)) * F.silu(z))


@pytest.mark.parametrize(("name", "dims"), INNER)
def test_scan_mixer_is_its_definition(name: str, dims: int) -> None:
    torch.manual_seed(0)
    mixer = ScanMixer(6, dims, {"hierarchical": "hierarchical:3"}.get(name, name), d_state=2, dt_rank=2, layer=1).eval()
    with torch.no_grad():
        for p in mixer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(2, *SIZES[dims], 6, requires_grad=True)
    expected = by_definition(mixer, x)
    torch.manual_seed(1)
    found = mixer(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    weights = torch.randn_like(found)
    inputs = [x, *mixer.parameters()]
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3 * max(1.0, float(b.abs().max())))


def test_the_usual_orders_keep_their_parameters() -> None:
    names = {"in_proj.weight", "conv.weight", "conv.bias", "x_proj_weight", "dt_projs_weight", "dt_projs_bias",
             "A_logs", "Ds", "out_norm.weight", "out_norm.bias", "out_proj.weight"}  # fmt: skip
    for order, count in (("raster", 1), ("bidirectional", 2), ("cross", 4), ("snake", 1)):
        state = ScanMixer(8, order=order).state_dict()
        assert set(state) == names and len(state["x_proj_weight"]) == count
    assert set(ScanMixer(8, order="local").state_dict()) - names == {
        f"merge.{part}.{kind}" for part in ("norm", "reduce", "select") for kind in ("weight", "bias")
    }


@pytest.mark.parametrize(("name", "dims"), [(name, dims) for name in ORDERS for dims in ORDERS[name].paths])
def test_sequence_mixer_takes_every_order(name: str, dims: int) -> None:
    size = SIZES[dims]
    width = torch.Size(size).numel() if ORDERS[name].channels else 8
    mixer = SequenceMixer(width, dims, name, "s4d", layer=2)
    assert len(mixer.cores) == (1 if mixer.order.shared else mixer.order.num_sequences)
    x = torch.randn(2, *size, 8, requires_grad=True)
    y = mixer(x)
    y.square().sum().backward()
    assert y.shape == x.shape and bool(y.isfinite().all())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in mixer.parameters())


def test_sequence_mixer_merges_as_it_did() -> None:
    x = torch.randn(2, 3, 4, 8)
    mixer = SequenceMixer(8, 2, "cross", "s4d")
    read = mixer.order.sequences(x.movedim(-1, 1)).transpose(2, 3)
    mixed = torch.stack([core(read[:, k]) for k, core in enumerate(mixer.cores)], 1).transpose(2, 3)
    torch.testing.assert_close(mixer(x), mixer.order.restore(mixed, (3, 4)).mean(1).movedim(1, -1))
    # lattices meet nowhere: nothing is averaged
    lattices = SequenceMixer(8, 2, "atrous", "s4d", shared=True)
    corner = lattices.cores[0](x[:, ::2, ::2].flatten(1, 2)).unflatten(1, (2, 2))
    torch.testing.assert_close(lattices(x)[:, ::2, ::2], corner)


def test_groups_of_channels_share_one_layer() -> None:
    mixer, x = SequenceMixer(8, 2, "parallel:2", "s4d"), torch.randn(2, 3, 4, 8)
    exchanged = torch.cat((x[..., 4:], x[..., :4]), -1)
    y = mixer(x)
    torch.testing.assert_close(mixer(exchanged), torch.cat((y[..., 4:], y[..., :4]), -1))
    with pytest.raises(ValueError, match="do not split"):
        SequenceMixer(9, 2, "parallel:2")
    with pytest.raises(ValueError, match="does not split"):
        ScanMixer(9, 2, "parallel:4", expand=1)


def test_rows_of_a_cascade_know_nothing_of_each_other() -> None:
    mixer, x = SequenceMixer(4, 2, "h|w", "s4d"), torch.randn(1, 3, 5, 4)
    changed = x.clone()
    changed[:, 1] += 1
    y, other = mixer(x), mixer(changed)
    assert torch.equal(y[:, [0, 2]], other[:, [0, 2]]) and not torch.allclose(y[:, 1], other[:, 1])


def test_channel_orders_need_their_grid() -> None:
    with pytest.raises(ValueError, match="take SequenceMixer"):
        ScanMixer(8, 2, "channel")
    with pytest.raises(ValueError, match="needs d_model=12"):
        SequenceMixer(12, 2, "channel", "s4d")(torch.zeros(1, 3, 5, 8))


def test_merges() -> None:
    torch.manual_seed(0)
    grids = torch.randn(2, 3, 8, 4, 5)
    total = grids.sum(1)
    torch.testing.assert_close(ScanMerge("sum", 8, 3)(grids), total)
    torch.testing.assert_close(ScanMerge("mean", 8, 3)(grids), total / 3)
    gate = ScanMerge("gate", 8, 3)
    weights = gate.weigh(torch.cat([grids[:, k].mean((2, 3)) for k in range(3)], 1)).softmax(1)
    torch.testing.assert_close(gate(grids), torch.einsum("bk,bkdhw->bdhw", weights, grids))
    merge = ScanMerge("attention", 8, 3)
    expected = torch.zeros_like(total)
    for k in range(3):
        mean = merge.norm(grids[:, k].movedim(1, -1)).mean((1, 2))
        expected += grids[:, k] * merge.select(F.gelu(merge.reduce(mean))).sigmoid()[:, :, None, None]
    torch.testing.assert_close(merge(grids), expected)
    spread = grids.std(1) / ((grids - grids.amin(1, keepdim=True)).mean(1) + 1e-5)
    torch.testing.assert_close(ScanMerge("variation", 8, 3, 0.5)(grids), total * F.relu(spread - 0.5))
    subsets = [grids[:, [k for k in range(3) if bits >> k & 1]].sum(1) for bits in range(1, 8)]
    drawn = [ScanMerge("mask", 8, 3)(grids) for _ in range(40)]
    found = {[torch.allclose(y, subset) for subset in subsets].index(True) for y in drawn}
    assert len(found) > 4
    with pytest.raises(ValueError, match="use one of sum, mean"):
        ScanMerge("product", 8, 3)
    assert set(MERGES) >= {entry.merge for entry in ORDERS.values()}


def test_channel_scan_is_its_definition() -> None:
    torch.manual_seed(0)
    layer, means = ChannelScan(7, d_state=3), torch.randn(2, 7)
    u, total = means[:, None] * layer.widen.weight + layer.widen.bias[:, None], torch.zeros(2, 2, 7)
    for k in range(2):
        line = u if k == 0 else u.flip(-1)
        dt, B, C = (layer.x_proj_weight[k] @ line).split([6, 3, 3], 1)
        A, D, bias = -layer.A_logs[k].exp(), layer.Ds[k], layer.dt_projs_bias[k]
        y = selective_scan(line, layer.dt_projs_weight[k] @ dt, A, B, C, D, None, bias, True, backend="reference")
        total = total + (y if k == 0 else y.flip(-1))
    narrowed = (layer.narrow.weight @ total).squeeze(1) + layer.narrow.bias
    torch.testing.assert_close(layer(means), layer.norm(narrowed), rtol=1e-4, atol=1e-5)


def test_a_channel_scan_weighs_the_result() -> None:
    torch.manual_seed(0)
    mixer, x = ScanMixer(6, d_state=2, channel_scan=True), torch.randn(2, 3, 5, 6)
    assert mixer.channel_scan is not None
    weighed = mixer(x)
    mixer.channel_scan.norm.weight.data.zero_()
    torch.testing.assert_close(mixer(x), plain(mixer, x))
    mixer.channel_scan.norm.bias.data.fill_(1)
    torch.testing.assert_close(mixer(x), 2 * plain(mixer, x))
    assert not torch.allclose(weighed, plain(mixer, x))
    mixer(x).sum().backward()


def plain(mixer: ScanMixer, x: Tensor) -> Tensor:
    channel_scan, mixer.channel_scan = mixer.channel_scan, None
    y = mixer(x)
    mixer.channel_scan = channel_scan
    return y


def test_the_mean_of_the_sequences_is_a_part_of_their_sum() -> None:
    mixer, u = ScanMixer(4, order="siamese", d_state=1), torch.randn(1, 8, 3, 5)
    mean = mixer.scan(u)
    mixer.merge = ScanMerge("sum", 8, 4)
    torch.testing.assert_close(4 * mean, mixer.scan(u))


def test_layers_take_their_turns() -> None:
    encoder = VSSEncoder(2, 1, [2, 3], [8, 16], order="mamba_nd", d_state=1)
    orders = [block.mixer.order.steps for stage in encoder.stages for block in stage]
    assert orders == [ScanMixer(4, order="mamba_nd", layer=i).order.steps for i in range(5)]
    assert len(set(orders)) == 4
    net = MedMamba(2, 1, 2, depths=[1, 2], dims=[8, 16], d_state=1, order="zigzag")
    orders = [block.mixer.order.steps for stage in net.stages for block in stage]
    assert len(set(orders)) == 3


def test_networks_take_orders_by_name() -> None:
    x = torch.randn(1, 1, 24, 20)
    for order in ("snake", "local:2", "cascade", "semantic", "multi_path"):
        net = VMamba(2, 1, 3, [1, 1], [8, 16], order=order, d_state=1)
        net(x).sum().backward()
        assert all(p.grad is not None for p in net.parameters())
    volume = torch.randn(1, 1, 8, 12, 8)
    for mixer, order in (("scan", "tri_oriented"), ("sequence", "mamba_nd")):
        net3 = ComposedUNet(3, 1, 2, order=order, mixer=mixer, depths=[1, 1], dims=[8, 16], d_state=1)
        assert net3(volume).shape == (1, 2, 8, 12, 8)


@pytest.mark.parametrize("name", ["snake", "hilbert", "local:2", "multi_path", "reordered"])
def test_tables_do_not_follow_the_default_device(name: str) -> None:
    with torch.device("meta"):
        mixer = ScanMixer(4, order=name, d_state=1)
        assert mixer(torch.empty(1, 5, 9, 4)).shape == (1, 5, 9, 4)
    assert bool(ScanMixer(4, order=name, d_state=1)(torch.randn(1, 5, 9, 4)).isfinite().all())


def test_unknown_values_are_not_kept() -> None:
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    mixer = ScanMixer(4, order="radial", d_state=1)
    with fake.FakeTensorMode(allow_non_fake_inputs=True):
        assert mixer.order.sequences(torch.zeros(1, 1, 3, 11)).shape == (1, 2, 1, 33)
    assert mixer(torch.randn(1, 3, 11, 4)).isfinite().all()
