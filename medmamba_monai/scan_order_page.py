"""Write the page of scan orders, a table and a picture of each: ``python -m medmamba_monai orders``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from medmamba_monai.extras import missing_sentence
from medmamba_monai.ops import ScanOrder, scan_order
from medmamba_monai.ops.scan_orders.table import ORDERS, Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZES = {2: (8, 8), 3: (3, 4, 4)}
_PANELS = 4
_SMALL = {
    "hierarchical": "hierarchical:3",
    "local": "local:4",
    "pixel": "pixel:4",
    "pixel_released": "pixel_released:2",
}
_MERGES = {
    "sum": "sum",
    "mean": "mean",
    "gate": "sum, weighted by softmax",
    "attention": "sum of gated channels",
    "variation": "sum times variation",
    "mask": "sum of those drawn",
}
_TEXT = """# Scan orders

A scan order says how a grid becomes sequences and how these become the grid again. Every network with the
argument `order` takes any name of this table; `medmamba_monai.ops.scan_order(name, spatial_dims)` gives the
order itself.

```python
from medmamba_monai.networks.nets import VMamba
from medmamba_monai.ops import scan_order

network = VMamba(2, in_channels=1, num_classes=3, order="snake")
order = scan_order("local:2", spatial_dims=2)    # windows of side 2 instead of 7
sequences = order.sequences(x)                   # (B, D, *S) to (B, K, D, T)
grids = order.restore(sequences, x.shape[2:])    # back to (B, K, D, *S)
```

The pictures start at the dot and go from dark to light; dotted lines are jumps, and more dots mean that the state
starts anew. Sequences that run backwards beside their path are not drawn. Of an order that changes from layer to
layer the first path of each layer is drawn, and never more than {panels} in all. Volumes are drawn slice behind
slice. K counts the sequences, in 2D / 3D. Parameters are those of the scan: one set each, or one for all ("shared").

{table}

Names ending in "_released" do what the released code of a paper does where that is a fault: they are there for
checkpoints. The other orders are sound: put back, every sequence is the grid that was read ("atrous": the sum of
all is; "patch" reads means and cannot be undone).

* `ScanMixer` (VMamba's block) scans inside: one projection, then all sequences; it takes all orders but those
  along channels. `SequenceMixer` runs a whole layer along each sequence; there the mean stands for the sum.
* `scan_merge` of both overrides the merge. `layer` counts the layers for orders that change from layer to
  layer; networks set it by themselves.
* "multi_path" draws a new random order in each training step and keeps one for evaluation. "masked" draws in
  every call; `torch.manual_seed` fixes it. "tree" and "semantic" sort each sample by what its grid holds;
  "tree" runs in Python, half a second for 65 536 positions of a sample, and cannot be exported. Tables of the other
  orders are made once for each size and device; an exported network keeps the size that it was exported with,
  unless all its orders are views (rows, columns, axes).

## Paths joined by hand

Any paths joined by `+` are an order too: `"hw+-hw+windows:7+-windows:7"` has four sequences, those of
LocalMamba's `h, h_flip, w7, w7_flip`.

| part | what it reads |
|---|---|
| `hw`, `wh`, `dhw`, `whd`, ... | the axes from the slowest to the fastest |
| `h\\|w`, `d\\|hw`, `hw\\|d` | the same, the state starts anew for each of the axes in front of the bar |
| `snake:wh`, `zigzag:3`, `spiral:wh`, `hilbert:1` | curves along axes, from a corner, or mirrored |
| `diagonal:1`, `diagonal_snake`, `diagonal_wrapped:1`, `radial` | diagonals from a corner, from the centre outwards |
| `windows:7`, `windows:7,wh`, `strips:4,h`, `atrous:2,0` | windows (by columns), strips, one lattice |
| `interleaved:10` | every n-th position in turn |
| `\\|windows:7`, `\\|lattice:2`, `d\\|hilbert` | the state starts anew in each window, lattice or slice |
| `pooled:2,hw` | means of blocks |
| `-...`, `~...` | backwards; with the channels in reverse order |

All curves visit each position once at any size. Where windows, lattices or n-th positions do not divide the
grid, zeros are read in between, as in the authors' codes. Snakes, zigzags and spirals only join neighbours, and
so does the Hilbert curve in 2D (also at odd sizes) and in 3D where all sides are even; elsewhere in 3D some of
its steps go along two axes at once.

## What is no order

* A class token in the middle of the sequence is `Vim(pool="middle")`.
* Rows scanned by two whole layers, as in LKM-UNet, are `SequenceMixer(order="bidirectional")`.
* The omnidirectional scan of VmambaIR is "cross" and, on the means of the result, "channel_bidirectional":
  `ScanMixer(channel_scan=True)`.
* The Fourier branch of I2I-Mamba, adapters of TP-Mamba and routers of MambaIRv2 are blocks around "spiral",
  "tri_plane" and "semantic".
* Motion Mamba's numbers of scans per layer are taken from its description ("hierarchical"); no code was compared.
"""


def main(argv: Sequence[str]) -> int:
    """Write the page and its pictures, or print the page."""
    parser = argparse.ArgumentParser(prog="python -m medmamba_monai orders", description=__doc__)
    parser.add_argument("--write", metavar="FOLDER", help="write scan_orders.md and scan_orders/*.png into this folder")
    folder = parser.parse_args(argv).write
    if folder is None:
        print(page())
        return 0
    pictures = Path(folder) / "scan_orders"
    pictures.mkdir(parents=True, exist_ok=True)
    for name in ORDERS:
        if has_picture(name):
            (pictures / f"{name}.png").write_bytes(picture(name))
    (Path(folder) / "scan_orders.md").write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """The page of scan orders in Markdown."""
    rows = [
        "| order | picture | what it reads | K | parameters | merge | source |",
        "|---|---|---|---|---|---|---|",
        *(_row(name, entry) for name, entry in ORDERS.items()),
    ]
    return _TEXT.replace("{panels}", str(_PANELS)).replace("{table}", "\n".join(rows))


def has_picture(name: str) -> bool:
    """Whether an order can be drawn: orders along channels cannot."""
    return not ORDERS[name].channels


def _row(name: str, entry: Entry) -> str:
    counts = [str(scan_order(name, dims).num_sequences) if dims in entry.paths else "-" for dims in (2, 3)]
    drawn = f"![{name}](scan_orders/{name}.png)" if has_picture(name) else "-"
    cells = (
        f"`{name}`",
        drawn,
        entry.about,
        " / ".join(counts),
        "shared" if entry.shared else "one set each" if counts not in (["1", "1"], ["-", "1"]) else "one set",
        _MERGES[entry.merge] if counts not in (["1", "1"], ["-", "1"]) else "-",
        entry.source,
    )
    return "| " + " | ".join(cells) + " |"


def picture(name: str) -> bytes:
    """An order drawn as a small PNG.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from PIL import Image
    except ImportError as error:
        raise ImportError(missing_sentence("matplotlib")) from error
    lines = _drawn(name)
    figure = Figure(figsize=(1.15 * len(lines), 1.15), dpi=96)
    axes: Any = figure.subplots(1, len(lines), squeeze=False)[0]
    for ax, (points, parts) in zip(axes, lines, strict=True):
        _draw(ax, points, parts)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, 0.04)
    raw, small = BytesIO(), BytesIO()
    figure.savefig(raw, format="png")
    Image.open(raw).convert("RGB").quantize(48).save(small, format="png", optimize=True)
    return small.getvalue()


def _drawn(name: str) -> list[tuple[torch.Tensor, int]]:
    """The points (T, 2) of each path to draw, and into how many parts they fall."""
    entry = ORDERS[name]
    dims = min(entry.paths)
    size, called = _SIZES[dims], _SMALL.get(name, name)
    paths = entry.paths[dims]
    layers = range(len(paths)) if isinstance(paths, tuple) else range(1)
    place = torch.linspace(0, 3, 8)
    # a smooth picture of three channels, for orders that look at it
    content = torch.stack([torch.sin(place[:, None] * k + place.square()) for k in (1, 2, 3)]).expand(dims, -1, -1, -1)
    found: list[tuple[torch.Tensor, int]] = []
    for layer in layers:
        lines = _lines(scan_order(called, dims, layer).bind(content), size)
        for line, parts in lines if len(layers) == 1 else lines[:1]:
            is_new = all(parts != other or not torch.equal(line, known) for known, other in found)
            if is_new and len(found) < _PANELS:
                found.append((line, parts))
    return found


def _lines(order: ScanOrder, size: tuple[int, ...]) -> list[tuple[torch.Tensor, int]]:
    """The points and parts of each path, the zeros between left out."""
    axes = torch.meshgrid(*(torch.arange(1.0, n + 1) for n in size), indexing="ij")
    grid = torch.stack(axes)[:, None]
    lines = []
    for part in order.one_by_one():
        for path in part.paths(grid)[:, :, 0].unbind(1):
            places = path.t()[(path > 0).all(0)] - 1
            # volumes are drawn slice behind slice
            shift = places[:, 0] * 0.45 if len(size) == 3 else torch.zeros(len(places))
            points = torch.stack((places[:, -1] + shift * 1.6, -places[:, -2] + shift * 1.1), 1)
            lines.append((points, part.segments(size)))
    return lines


def _draw(ax: Axes, points: torch.Tensor, parts: int) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    steps = torch.stack((points[:-1], points[1:]), 1)
    lengths = (points[1:] - points[:-1]).norm(dim=1)
    far = lengths > 1.5 * lengths.min() if len(lengths) else lengths > 0
    colours = colormaps["plasma"](torch.linspace(0, 0.88, max(len(steps), 1)).tolist())
    within = [(i + 1) % max(1, len(points) // parts) != 0 or parts == 1 for i in range(len(steps))]
    for style, width, wanted in (("dotted", 0.6, True), ("solid", 1.5, False)):
        chosen = [i for i in range(len(steps)) if bool(far[i]) == wanted and within[i]]
        lines = [steps[i].tolist() for i in chosen]
        ax.add_collection(
            LineCollection(lines, colors=[colours[i] for i in chosen], linewidths=width, linestyles=style)
        )
    starts = points[:: max(1, len(points) // parts)]
    ax.scatter(starts[:, 0].tolist(), starts[:, 1].tolist(), s=9 if parts == 1 else 4, color="black", zorder=3)
    ax.set_xlim(points[:, 0].min().item() - 0.5, points[:, 0].max().item() + 0.5)
    ax.set_ylim(points[:, 1].min().item() - 0.5, points[:, 1].max().item() + 0.5)
    ax.set_aspect("equal")
    ax.set_axis_off()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
