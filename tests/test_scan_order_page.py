"""The page of scan orders is what the code writes, and its pictures are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmamba_monai import scan_order_page
from medmamba_monai.ops.scan_orders.table import ORDERS

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_what_the_code_writes() -> None:
    assert (DOCS / "scan_orders.md").read_text(encoding="utf-8") == scan_order_page.page(), (
        "write it anew: python -m medmamba_monai orders --write docs"
    )


def test_the_table_has_a_row_for_every_order() -> None:
    rows = [line.split("|") for line in scan_order_page.page().splitlines() if line.startswith("| `")]
    cells = {row[1].strip(" `"): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert set(ORDERS) <= set(cells)
    assert cells["cross"][2:5] == ["4 / 6", "one set each", "sum"]
    assert cells["siamese"][2:5] == ["4 / 4", "shared", "mean"]
    assert cells["tri_oriented"][2] == "- / 3" and cells["zigzag"][3] == "one set"


def test_every_picture_is_there_and_small() -> None:
    pictures = {path.stem: path.stat().st_size for path in (DOCS / "scan_orders").glob("*.png")}
    assert set(pictures) == {name for name in ORDERS if scan_order_page.has_picture(name)}
    assert sum(pictures.values()) < 400_000


def test_pictures_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra [plots] is not installed")
    for name in ("semantic", "tri_plane", "patch"):
        assert scan_order_page.picture(name).startswith(b"\x89PNG")
