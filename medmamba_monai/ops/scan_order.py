"""How a grid becomes sequences and how they become the grid again."""

from __future__ import annotations

from medmamba_monai.ops.scan_orders.content import semantic_order, tree_order
from medmamba_monai.ops.scan_orders.curves import axes_of
from medmamba_monai.ops.scan_orders.order import ChannelOrder, ScanOrder
from medmamba_monai.ops.scan_orders.paths import (
    CURVE_FUNCTIONS,
    AxesPath,
    ContentPath,
    FlippedChannelsPath,
    MorphPath,
    Path,
    PooledPath,
    TablePath,
    UnturnedPath,
)
from medmamba_monai.ops.scan_orders.table import ORDERS

__all__ = ["ScanOrder", "scan_order"]

_CONTENT = {"semantic": semantic_order, "tree": tree_order}


def scan_order(name: str, spatial_dims: int = 2, layer: int = 0) -> ScanOrder:
    """Name an order in which a grid is read.

    A name of the table (`medmamba_monai.ops.scan_orders.table.ORDERS`), perhaps with its number ("local:2": windows
    of side 2), or paths joined by "+":

    * axes from the slowest to the fastest, as "hw" (rows), "wh" (columns), "dwh"; a bar starts the state anew for
      each combination of the axes in front of it ("h|w": every row for itself);
    * a curve with its arguments: "snake:wh", "zigzag:3", "hilbert:1", "windows:7", "windows:7,wh", "strips:4,h",
      "atrous:2,0" (one of the lattices), "diagonal:1", "spiral", ...; "|windows:7" starts anew in each window,
      "d|hilbert" takes the curve in each slice for itself;
    * each backwards with "-" in front, or with its channels reversed with "~": "hw+-hw+windows:7+-windows:7" has four
      sequences.

    Args:
        name: see above.
        spatial_dims: 2 or 3.
        layer: number of the layer that asks; some orders ("zigzag", "hilbert", "mamba_nd") give each layer another
            path.

    Raises:
        ValueError: when there is no such order.

    Example:
        >>> scan_order("cross", spatial_dims=3).num_sequences
        6
        >>> scan_order("-hw+windows:2").index((2, 4)).tolist()
        [[7, 6, 5, 4, 3, 2, 1, 0], [0, 1, 4, 5, 2, 3, 6, 7]]
    """
    known, _, text = name.partition(":")
    entry = ORDERS.get(known)
    is_plain = entry is None or (text != "" and entry.number is None)
    if spatial_dims not in (2, 3) or (entry and not is_plain and spatial_dims not in entry.paths):
        axes = "3" if entry and spatial_dims == 2 else "2 or 3"
        raise ValueError(f"there is no scan order {name!r} in {spatial_dims} dimensions: use it in {axes}")
    if entry is None or is_plain:
        return ScanOrder(name, spatial_dims, _steps(name, spatial_dims, name))
    number = _number(name, text, entry.number or 1)
    paths = entry.paths[spatial_dims]
    paths = paths(number) if callable(paths) else paths
    if isinstance(paths, tuple):
        paths = paths[layer % len(paths)] if known != "hierarchical" else paths[min(layer, len(paths) - 1)]
    order = ScanOrder(
        name,
        spatial_dims,
        _steps(paths, spatial_dims, name),
        entry.directions,
        entry.shared,
        entry.merge,
        entry.cascade,
        number if entry.groups > 1 else 1,
    )
    return ChannelOrder(**vars(order)) if entry.channels else order


def _number(name: str, text: str, default: int) -> int:
    if text and not (text.isdigit() and int(text) > 0):
        raise ValueError(f"the scan order is {name!r}: after the colon give a number of at least 1")
    return int(text or default)


def _steps(paths: str, spatial_dims: int, name: str) -> tuple[Path, ...]:
    return tuple(_path(text, spatial_dims, name) for text in paths.split("+"))


def _path(text: str, spatial_dims: int, name: str) -> Path:
    """The path that a text names."""
    if text.startswith("~"):
        return FlippedChannelsPath(_path(text[1:], spatial_dims, name))
    if text.startswith("%"):
        path = _path(text[1:], spatial_dims, name)
        if isinstance(path, AxesPath):
            return UnturnedPath(path.axes, False, path.restarts)
    backward, word = text.startswith("-"), text.removeprefix("-")
    axes = "dhw"[-spatial_dims:]
    if word == "raster":
        word = axes
    before, bar, bare = word.rpartition("|")
    if sorted(before + bare) == sorted(axes):
        return AxesPath(axes_of(before + bare, spatial_dims), backward, len(before))
    curve, _, rest = bare.partition(":")
    arguments = tuple(int(part) if part.isdigit() else part for part in rest.split(",") if part)
    if curve in CURVE_FUNCTIONS and before in ("", "d"[: spatial_dims - 2]):
        return TablePath(curve, arguments, backward, bar != "" and not before, before != "")
    if curve in _CONTENT:
        return ContentPath(_CONTENT[curve])
    if curve == "morph":
        return MorphPath()
    if curve == "pooled" and len(arguments) == 2:
        return PooledPath(_path(str(arguments[1]), spatial_dims, name), int(arguments[0]))
    raise ValueError(
        f"there is no scan order {name!r} in {spatial_dims} dimensions: use one of {sorted(ORDERS)}, or paths joined "
        f"by '+', each the grid's axes ({axes!r}) or one of {sorted(CURVE_FUNCTIONS)}"
    )
