"""A bundle's network by every runtime: all see the same image, and the metric is that of evaluate.json."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from medmamba_monai.__main__ import main
from medmamba_monai.collection.bundles import Bundle
from medmamba_monai.collection.runtimes import Called, metrics

NAME = "linear_squares_test_classification"
NETWORK = "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))"
# bright and dark squares in turns
ITEMS = "$[{'image': torch.full((1, 8, 8), n % 2 - 0.5), 'label': torch.eye(2)[n % 2]} for n in range(6)]"
TRAIN = {
    "network_def": NETWORK,
    "network": "@network_def",
    "device": "cpu",
    "dataset_dir": "",
    "validate": {
        "dataset": {"_target_": "Dataset", "data": ITEMS},
        "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 3},
        "handlers": "$this is never built",
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device(@device)",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "key_val_metric": {
                "auc": {"_target_": "ROCAUC", "output_transform": "$monai.handlers.from_engine(['pred', 'label'])"}
            },
            "val_handlers": "@validate#handlers",
        },
    },
}
EVALUATE = {"initialize": ["$this is never run"], "run": ["$@validate#evaluator.run()"]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of one linear layer that tells bright from dark."""
    root = tmp_path_factory.mktemp("bundles") / NAME
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    channel = {"num_channels": 1, "spatial_shape": [8, 8]}
    files = {
        "metadata": {"name": "a test", "network_data_format": {"inputs": {"image": channel}}},
        "inference": {"image_size": [8, 8], "network_def": NETWORK},
        "train": TRAIN,
        "evaluate": EVALUATE,
    }
    for name, content in files.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    weights = torch.linspace(0.5, 1.5, 64)
    torch.save({"1.weight": torch.stack([-weights, weights]), "1.bias": torch.zeros(2)}, root / "models" / "model.pt")
    return Bundle(root)


def test_every_runtime_is_measured(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(module, reason="the extra 'export' is not installed")
    threads = torch.get_num_threads()
    try:
        command = ["runtimes", "linear", "--dataset_dir", ".", "--repeats", "1", "--bundles", str(bundle.root.parent)]
        assert main(command) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("one image of 1 x 8 x 8, one thread")
    ways = ["eager float32", "eager bfloat16", "onnxruntime float32"]
    assert [line[:22].strip() for line in said[1:]] == 2 * ways
    apart = [float(line.split()[-1]) for line in said[1:4]]
    assert apart[0] == 0 and apart[2] < 1e-5 < apart[1] < 0.1
    assert [line[22:] for line in said[4:]] == 3 * ["auc 1.0000"]


def test_the_metric_is_that_of_the_network_on_the_first_cases(bundle: Bundle) -> None:
    seen: list[int] = []

    def wrong(image: Tensor) -> Tensor:
        seen.append(len(image))
        return torch.stack([image.mean((1, 2, 3)), -image.mean((1, 2, 3))], 1)

    assert metrics(bundle, Called(wrong), ".", 4) == {"auc": 0.0}
    assert seen == [1, 1, 1, 1]
