"""Exports give what eager gives, at two shapes, also where the state decays slowly; federated learning round trip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor, nn

from medmamba_monai import export
from tests.bundles.conftest import BUNDLES, NAMES, metadata


def network_of(name: str, slow_decay: bool) -> nn.Module:
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / name / "configs" / "inference.json"))
    network: nn.Module = parser.get_parsed_content("network_def", instantiate=True)
    network.load_state_dict(torch.load(BUNDLES / name / "models" / "model.pt", map_location="cpu", weights_only=True))
    if slow_decay:
        found = [p for key, p in network.named_parameters() if key.rsplit(".", 1)[-1].startswith("A_log")]
        assert found
        for parameter in found:
            nn.init.constant_(parameter, -8.0)
    return network.eval()


def pictures(name: str) -> list[tuple[bool, Tensor]]:
    """One image at the metadata's size, one at a larger size for a network whose state decays slowly."""
    image = metadata(name)["network_data_format"]["inputs"]["image"]
    torch.manual_seed(0)
    sizes = [[eval(str(size), {"n": n, "p": n}) for size in image["spatial_shape"]] for n in (1, 2)]
    if sizes[0] == sizes[1]:
        sizes[1] = [size + 16 for size in sizes[0]]
    first, second = (torch.randn(1, image["num_channels"], *size) for size in sizes)
    return [(False, first), (True, second)]


def close(found: Tensor, eager: Tensor) -> None:
    assert found.shape == eager.shape
    assert float((found - eager).abs().max()) <= 1e-4 * max(float(eager.abs().max()), 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_torchscript_equals_eager(name: str) -> None:
    for slow, image in pictures(name):
        network = network_of(name, slow)
        with torch.no_grad():
            traced = torch.jit.trace(network, image, check_trace=False)
            fresh = torch.randn_like(image)
            close(traced(fresh), network(fresh))


@pytest.mark.parametrize("name", NAMES)
def test_onnx_equals_eager(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    image, file = pictures(name)[0][1], tmp_path / "net.onnx"
    network = network_of(name, slow_decay=True)
    export.save_onnx(export.program(network, torch.cat((image, image))), file)
    run = export.read(file)
    for batch in (1, 3):
        fresh = torch.randn(batch, *image.shape[1:])
        with torch.no_grad():
            close(run(fresh), network(fresh))


@pytest.mark.parametrize("name", NAMES)
def test_federated_round_trip(name: str, bundle_copy, small_data) -> None:
    root = bundle_copy(name)
    quick = {"bundle_root": str(root), "dataset_dir": str(small_data(name)), "val_interval": 1, "device": "cpu"}
    quick["batch_size"] = 2  # the first step of a warm-up changes nothing
    client = MonaiAlgo(
        bundle_root=str(root), local_epochs=1, send_weight_diff=False, train_kwargs=quick, eval_kwargs=quick
    )
    client.initialize(extra={ExtraItems.CLIENT_NAME: "clinic", ExtraItems.APP_ROOT: str(root)})
    start = client.get_weights()
    assert start.weights
    full = {key: np.array(value) for key, value in start.weights.items()}
    client.train(ExchangeObject(weights=full), extra={})
    trained = client.get_weights()
    assert any(not np.array_equal(np.asarray(value), full[key]) for key, value in trained.weights.items())
    assert json.dumps(client.evaluate(ExchangeObject(weights=full), extra={}).metrics, default=float) != "{}"
    client.finalize()
