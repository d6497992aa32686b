"""``list``, ``show``, ``card`` and ``demo`` on a small bundle with made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medmamba_monai.__main__ import main
from medmamba_monai.collection import demo, sample
from medmamba_monai.collection.bundles import Bundle, all_bundles, find_bundle
from medmamba_monai.collection.card import eval_metrics, measured, summary
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.drawing import COLOURS
from medmamba_monai.collection.listing import markdown_table
from medmamba_monai.collection.record import cost
from medmamba_monai.collection.wording import COLOUR_WORDS

NAME = "net_toy_segmentation"
LINEAR = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 3, "kernel_size": 3}
PART = "<!-- {0}: python -m medmamba_monai card " + NAME + " -->\n<!-- end of {0} -->\n"


def entry(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def evaluated(value: float, **extra: Any) -> dict[str, Any]:
    names = ("dice_mean", "dice_inner", "dice_outer", "dice_mean_paris", "dice_mean_rome")
    metrics = {name: entry(value) for name in names} | {"hausdorff95_mean": {"value": None, "low": None, "high": None}}
    return {"cases": 24, "groups": 12, "interval": "95 %, bootstrap over subjects", "metrics": metrics} | extra


def store(root: Path, **networks: dict[str, Any]) -> None:
    (root / "docs" / "evaluation.json").write_text(json.dumps(networks), encoding="utf-8")


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    root = tmp_path / "bundles" / NAME
    for folder in ("configs/peers", "docs", "models"):
        (root / folder).mkdir(parents=True)
    shape = {"spatial_shape": ["4*n", "4*n"], "num_channels": 1, "modality": "CT"}
    outputs = {"pred": {"channel_def": {"0": "background", "1": "inner", "2": "outer"}}}
    meta = {"version": "0.1.0", "task": "Finding toys", "description": "A toy.", "data_source": "Toys, https://toys"}
    meta |= {"network_data_format": {"inputs": {"image": shape}, "outputs": outputs}}
    train = {"network_def": LINEAR, "validate": {"key_metric": {"val_mean_dice": {}}}}
    for name, config in {
        "metadata": meta,
        "train": train,
        "inference": {"network_def": LINEAR, "window_size": [8, 12]},
        "peers/wide": {"network_def": LINEAR | {"kernel_size": 5}},
    }.items():
        (root / "configs" / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    (root / "docs" / "README.md").write_text(
        f"# Overview\n{PART.format('summary')}text\n{PART.format('measured')}end\n"
    )
    (root / "docs" / "data_license.txt").write_text("Toys\n\nLicence: CC BY 4.0, as stated. More.\n")
    (root / "models" / "model.pt").write_bytes(bytes(1_500_000))
    store(
        root, Ours=evaluated(0.5, parameters=1_500_000, latency_seconds=0.25), UNet=evaluated(0.6), Wide=evaluated(0.7)
    )
    return tmp_path / "bundles"


@pytest.fixture
def bundle(bundles: Path) -> Bundle:
    return Bundle(bundles / NAME)


def test_list_shows_every_column(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--bundles", str(bundles)]) == 0
    header, row = capsys.readouterr().out.splitlines()
    cells = ["CT segmentation", "Conv2d", "Toys", "mean Dice", "0.500", "0.700 Wide", "1.5 MB, 1.50 M", "0.25 s"]
    places = [row.index(cell) for cell in cells]
    assert row.startswith(NAME) and places == sorted(places)
    assert [header.index(word) for word in ("task", "network", "data", "on the test list")] == places[:4]


def test_list_goes_between_the_marks_with_links_from_the_file(bundles: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "above\n<!-- list: python -m medmamba_monai list --markdown FILE -->\nold\n<!-- end of list -->\n"
    )
    assert main(["list", "--bundles", str(bundles), "--markdown", str(readme)]) == 0
    text = readme.read_text()
    assert f"| [{NAME}](bundles/{NAME}/docs/README.md) | Finding toys |" in text and "old" not in text
    assert "| mean Dice, 24 cases | 0.500 (0.400 to 0.600) | 0.700 (0.600 to 0.800) Wide | " in text
    assert "| 0.25 s (8 x 12) |" in text
    (tmp_path / "bare.md").write_text("nothing")
    assert main(["list", "--bundles", str(bundles), "--markdown", str(tmp_path / "bare.md")]) == 1


def test_unmeasured_bundles_are_listed(bundle: Bundle) -> None:
    bundle.evaluation_file.unlink()
    assert "| not measured yet |" in markdown_table([bundle], bundle.root.parent)


def test_show_explains(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "toy", "--bundles", str(bundles)]) == 0
    text = capsys.readouterr().out
    for part in (
        f"{NAME} 0.1.0",
        "Finding toys",
        "0.500 (0.400 to 0.600) on 24 test cases",
        "UNet: 0.600",
        "CC BY 4.0",
    ):
        assert part in text
    assert "0.25 s for an input of 8 x 12" in text and "--image IMAGE" in text


def test_unknown_and_doubtful_names_are_told(bundles: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"'heart' is unknown: give one of {NAME}"):
        find_bundle("heart", bundles)
    other = bundles / "other_toy_segmentation" / "configs"
    other.mkdir(parents=True)
    (other / "metadata.json").write_text("{}")
    with pytest.raises(InputError, match="'toy' fits more than one: give one of net_toy.*other_toy"):
        find_bundle("toy", bundles)
    with pytest.raises(InputError, match="give --bundles FOLDER"):
        all_bundles(tmp_path)


def test_card_says_first_when_peers_win(bundle: Bundle) -> None:
    assert summary(bundle).startswith(
        "UNet and Wide beat this bundle on the 24 cases of the test list: mean Dice 0.600"
    )
    store(bundle.root, Ours=evaluated(0.8), UNet=evaluated(0.4, peer="u"), Wide=evaluated(0.5, peer="w"))
    text = " ".join(summary(Bundle(bundle.root)).split())
    assert text == (
        "Mean Dice of Ours on the 24 cases of the test list: 0.800 (0.700 to 0.900); the best peer, Wide, "
        "reaches 0.500 (0.400 to 0.600)."
    )


def test_card_has_tables_of_networks_classes_and_sites(bundle: Bundle) -> None:
    text = measured(bundle)
    assert "| network | parameters | epochs (kept) | mean Dice | mean HD95 | validation (mean dice) | latency |" in text
    assert "| Ours | 1.50 M |  | 0.500 (0.400 to 0.600) |  |  | 0.25 s |  |  |" in text
    assert "| inner | 0.500 (0.400 to 0.600) | 0.600 (0.500 to 0.700) |" in text
    assert "| paris | 0.500 (0.400 to 0.600) | 0.600 (0.500 to 0.700) |" in text
    assert set(eval_metrics(bundle)) == {name for name in evaluated(0.5)["metrics"] if name != "hausdorff95_mean"}


def test_card_writes_page_and_metadata_and_keeps_the_rest(bundles: Path, bundle: Bundle) -> None:
    for _ in range(2):
        assert main(["card", NAME, "--bundles", str(bundles)]) == 0
    text = bundle.card.read_text(encoding="utf-8")
    assert text.startswith("# Overview\n<!-- summary") and text.count("beat this bundle") == 1
    assert "-->\ntext\n<!-- measured" in text and text.endswith("-->\nend\n")
    assert Bundle(bundle.root).metadata["eval_metrics"]["dice_mean"] == 0.5
    bundle.card.write_text("no marks")
    assert main(["card", NAME, "--bundles", str(bundles)]) == 1


def test_card_without_evaluation_says_what_to_run(
    bundles: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle.evaluation_file.unlink()
    assert main(["card", NAME, "--bundles", str(bundles)]) == 1
    said = capsys.readouterr().err
    assert "has no stored evaluation: run evaluate.json" in said and "--record NETWORK" in said


def run_of(folder: Path, scores: list[float]) -> Path:
    folder.mkdir()
    rows = [f"{i},{3 - i},{score},30" for i, score in enumerate(scores, start=1)]
    (folder / "history.csv").write_text("\n".join(["epoch,loss,metric,seconds", "0,4,,30", *rows]) + "\n")
    return folder


def evaluation_of(folder: Path, value: float) -> Path:
    (folder / "pictures").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(evaluated(value)))
    for name in ("typical", "worst"):
        Image.new("RGB", (4, 4)).save(folder / "pictures" / f"{name}.png")
    (folder / "pictures" / "captions.json").write_text(json.dumps({"typical": "case a", "worst": "case b, Dice 0.1"}))
    return folder


def test_card_records_the_bundle_and_its_peers(bundles: Path, bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bundle.evaluation_file.unlink()
    arguments = ["card", NAME, "--bundles", str(bundles), "--evaluation", str(evaluation_of(tmp_path / "e", 0.75))]
    own = [*arguments, "--record", "Toy, this bundle", "--run", str(run_of(tmp_path / "own", [0.3, 0.9, 0.8]))]
    peer = [*arguments, "--record", "Wide", "--run", str(run_of(tmp_path / "wide", [0.4])), "--peer", "wide.json"]
    assert main(peer) == 0 and "beats" not in bundle.card.read_text(encoding="utf-8")
    assert main(own) == 0
    found = Bundle(bundle.root).evaluation
    assert list(found) == ["Toy, this bundle", "Wide"]
    ours = found["Toy, this bundle"]
    trained = {"epochs": 3, "best_epoch": 2, "validation": 0.9, "training_minutes": 2.0, "parameters": 30}
    assert trained.items() <= ours.items() and ours["latency_seconds"] >= 0
    assert found["Wide"]["parameters"] == 78 and found["Wide"]["peer"] == "wide.json"
    text = bundle.card.read_text(encoding="utf-8")
    assert (
        "worst case of the test list, case b, Dice 0.1; outlines: inner red, outer cyan:" in text
        and "| 3 (2) |" in text
    )
    docs = sorted(path.relative_to(bundle.root / "docs").as_posix() for path in (bundle.root / "docs").rglob("*.[pc]*"))
    assert docs == ["curves.png", "failure_case.png", "good_case.png", "histories/own.csv", "histories/wide.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "nowhere"], "has no history.csv"),
        (["--evaluation", "nowhere"], "has no metrics.json"),
        (["--peer", "tall.json"], "configs/peers holds wide.json"),
    ],
)
def test_missing_records_are_one_sentence(
    options: list[str], said: str, bundles: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle.evaluation_file.read_text()
    assert main(["card", NAME, "--bundles", str(bundles), "--record", "Ours", *options]) == 1
    captured = capsys.readouterr().err
    assert said in captured and captured.count("\n") == 1
    assert bundle.evaluation_file.read_text() == before


def test_cost_counts_the_peer_apart(bundle: Bundle) -> None:
    assert cost(bundle)["parameters"] == 3 * 9 + 3
    assert cost(bundle, bundle.root / "configs" / "peers" / "wide.json")["parameters"] == 3 * 25 + 3


def test_demo_without_a_sample_tells_the_command(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", NAME, "--bundles", str(bundles)]) == 1
    assert f"no Python package brings an image for {NAME}; on your own: python -m monai" in capsys.readouterr().err


def test_demo_runs_on_the_image_of_a_package(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")

    def run(command: list[str]) -> None:
        assert (tmp_path / "out" / "input" / "ihc.png").stat().st_size > 1000
        (tmp_path / "out" / "ihc_seg.png").touch()

    monkeypatch.setattr(sample, "run_bundle", run)
    monkeypatch.setitem(demo.SAMPLES, NAME, next(iter(demo.SAMPLES.values())))
    assert main(["demo", NAME, "--bundles", str(bundles), "--output", str(tmp_path / "out")]) == 0
    assert "ihc_seg.png" in capsys.readouterr().out


def test_every_colour_has_a_word() -> None:
    assert len(COLOUR_WORDS) == len(COLOURS)


def test_samples_lie_in_their_packages() -> None:
    from importlib.resources import files

    for image in demo.SAMPLES.values():
        pytest.importorskip(image.package)
        assert (files(image.package) / image.file).is_file()
