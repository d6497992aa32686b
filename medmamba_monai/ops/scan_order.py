"""How a grid becomes sequences and how they become the grid again."""

from __future__ import annotations

from medmamba_monai.ops.scan_orders.curves import axes_of
from medmamba_monai.ops.scan_orders.order import ScanOrder
from medmamba_monai.ops.scan_orders.paths import CURVE_FUNCTIONS, AxesPath, Path, TablePath
from medmamba_monai.ops.scan_orders.table import ORDERS

__all__ = ["ScanOrder", "scan_order"]


def scan_order(name: str, spatial_dims: int = 2, layer: int = 0) -> ScanOrder:
    """Name an order in which a grid is read.

    A name of the table, perhaps with its number ("local:2": windows of side 2), or paths joined by "+":

    * axes from the slowest to the fastest, as "hw" (rows), "wh" (columns), "dwh"; a bar starts the state anew for
      each combination of the axes in front of it ("h|w": every row for itself);
    * a curve with its arguments: "snake:wh", "zigzag:3", "hilbert:1", "windows:7", "windows:7,wh", "strips:4,h",
      "atrous:2,0" (one of the lattices), "diagonal:1", "spiral", ...; a bar in front starts anew in each window;
    * each backwards with "-" in front: "hw+-hw+windows:7+-windows:7" has four sequences.

    Args:
        name: see above.
        spatial_dims: 2 or 3.
        layer: number of the layer that asks; some orders ("zigzag", "hilbert") give each layer another path.

    Raises:
        ValueError: when there is no such order.

    Example:
        >>> scan_order("cross", spatial_dims=3).num_sequences
        6
        >>> scan_order("-hw+windows:2").index((2, 4)).tolist()
        [[7, 6, 5, 4, 3, 2, 1, 0], [0, 1, 4, 5, 2, 3, 6, 7]]
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"there is no scan order {name!r} in {spatial_dims} dimensions: use 2 or 3")
    known, _, number = name.partition(":")
    entry = ORDERS.get(known)
    if entry is None or (number and entry.number is None):
        return ScanOrder(name, spatial_dims, tuple(_path(text, spatial_dims, name) for text in name.split("+")))
    paths = entry.paths[spatial_dims]
    if isinstance(paths, tuple):
        paths = paths[layer % len(paths)]
    elif callable(paths):
        paths = paths(int(number or entry.number or 0))
    steps = tuple(_path(text, spatial_dims, name) for text in paths.split("+"))
    return ScanOrder(name, spatial_dims, steps, entry.directions, entry.shared, entry.merge)


def _path(text: str, spatial_dims: int, name: str) -> Path:
    """The path that a text names."""
    backward, word = text.startswith("-"), text.removeprefix("-")
    restarts, bare = word.find("|"), word.replace("|", "")
    if sorted(bare) == sorted("dhw"[-spatial_dims:]):
        return AxesPath(axes_of(bare, spatial_dims), backward, max(restarts, 0))
    curve, _, rest = bare.partition(":")
    if curve not in CURVE_FUNCTIONS:
        raise ValueError(
            f"there is no scan order {name!r} in {spatial_dims} dimensions: use one of {sorted(ORDERS)}, or paths "
            f"joined by '+', each the grid's axes or one of {sorted(CURVE_FUNCTIONS)}"
        )
    arguments = tuple(int(part) if part.isdigit() else part for part in rest.split(",") if part)
    return TablePath(curve, arguments, backward, restarts == 0)
