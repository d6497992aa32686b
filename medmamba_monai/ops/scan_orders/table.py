"""The table of scan orders: for each its paths, directions, share of parameters, merge and source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Paths = str | tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A named order.

    Args:
        about: what it does, in a few words.
        source: where it comes from, with its arXiv number.
        paths: for each number of axes the paths, joined by "+", or several such texts that layers (of a multi-head
            mixer: heads) take in turn, or a function that makes either from the order's number.
        directions: 1 for forwards only, 2 for both.
        number: the number taken where the name brings none, as in "local:2"; None where there is none.
        shared: one set of parameters for all sequences.
        merge: how the sequences' results become one grid.
        cascade: so many paths at a time are scanned, one lot after another; 0 for all at once.
        groups: parts of the channels that share the parameters; the order's number if it has one.
        channels: the channels are the steps.
    """

    about: str
    source: str
    paths: Mapping[int, Paths | Callable[[int], Paths]]
    directions: int = field(default=1, kw_only=True)
    number: int | None = field(default=None, kw_only=True)
    shared: bool = field(default=False, kw_only=True)
    merge: str = field(default="sum", kw_only=True)
    cascade: int = field(default=0, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    channels: bool = field(default=False, kw_only=True)


def _cycle(path: str, count: int) -> tuple[str, ...]:
    return tuple(f"{path}:{number}" for number in range(count))


def _lattices(groups: Callable[[int], int]) -> Callable[[int], str]:
    return lambda step: "+".join(f"atrous:{step},{number}" for number in range(groups(step)))


def _released_lattices(step: int) -> str:
    return "+".join(f"atrous:{step},{first + step * second}" for second in (0, 1) for first in (0, 1))


def _heads(*patterns: str) -> tuple[str, ...]:
    return tuple("+".join(f"{path}+-{path}" for path in pattern.split()) for pattern in patterns)


def _strips(axes: str) -> Callable[[int], str]:
    return lambda width: "+".join(f"strips:{width},{axis}" for axis in axes)


def _layers(first: int) -> tuple[str, ...]:
    return tuple("+".join(["raster"] * count) for count in range(first, 0, -2)) or ("raster",)


_VIDEO = ("d|zigzag:0", "d|zigzag:1", "hw|d", "d|zigzag:2", "d|zigzag:3", "-hw|d",
          "d|zigzag:4", "d|zigzag:5", "hw|d", "d|zigzag:6", "d|zigzag:7", "-hw|d")  # fmt: skip
_ROWS, _PLANES = {2: "hw", 3: "dhw"}, {3: "dhw+-dhw+hwd"}
_VMAMBA, _MORPH = "VMamba (arXiv 2401.10166)", "VMambaMorph (arXiv 2404.05105)"
_ZIGMA, _ATROUS = "ZigMa (arXiv 2403.13802)", "EfficientVMamba (arXiv 2403.09977)"
_LKM, _MAMBA_ND = "LKM-UNet (arXiv 2403.07332)", "Mamba-ND (arXiv 2402.05892)"

ORDERS: Mapping[str, Entry] = MappingProxyType(
    {
        "raster": Entry("row by row, slice by slice", "U-Mamba (arXiv 2401.04722)", _ROWS),
        "bidirectional": Entry("rows, forwards and backwards", "Vim (arXiv 2401.09417)", _ROWS, directions=2),
        "cross": Entry(
            "rows and columns (3D: the cyclic orders of the axes), both ways",
            _VMAMBA,
            {2: "hw+wh", 3: "dhw+hwd+wdh"},
            directions=2,
        ),
        "unidi": Entry("rows, four times", _VMAMBA, {2: "hw+hw+hw+hw", 3: "dhw+dhw+dhw+dhw"}),
        "bidi": Entry("rows twice, both ways", _VMAMBA, {2: "hw+hw", 3: "dhw+dhw"}, directions=2),
        "cascade": Entry(
            "each row for itself, then each column of the result (3D: then each line across slices)",
            _VMAMBA,
            {2: "h|w+w|h", 3: "dh|w+dw|h+hw|d"},
            directions=2,
            cascade=1,
        ),
        "cascade_released": Entry(
            "as cascade, but what was read backwards is not turned back, as in the released code",
            _VMAMBA,
            {2: "h|w+%h|w+w|h+%w|h"},
            cascade=2,
        ),
        "vmambamorph": Entry(
            "rows with the first two axes as they are and exchanged", _MORPH, {3: "dhw+hdw"}, directions=2
        ),
        "vmambamorph_released": Entry(
            "as vmambamorph, put back by the wrong inverse of the released code",
            _MORPH,
            {3: "dhw+morph"},
            directions=2,
        ),
        "snake": Entry(
            "rows and columns, every second line backwards, both ways",
            "PlainMamba (arXiv 2403.17695)",
            {2: "snake:hw+snake:wh", 3: "snake:dhw+snake:hwd+snake:wdh"},
            directions=2,
            shared=True,
        ),
        "zigzag": Entry(
            "snakes from all corners, layer by layer", _ZIGMA, {2: _cycle("zigzag", 8), 3: _cycle("zigzag", 24)}
        ),
        "zigzag_video": Entry("two layers with snakes inside each slice, then one across slices", _ZIGMA, {3: _VIDEO}),
        "hilbert": Entry(
            "Hilbert curves from all corners, layer by layer",
            _ZIGMA,
            {2: _cycle("hilbert", 8), 3: _cycle("hilbert", 8)},
        ),
        "hilbert_released": Entry(
            "the inverse permutations of the Hilbert curves, as the released code reads them",
            _ZIGMA,
            {2: _cycle("hilbert_released", 8), 3: _cycle("hilbert_released", 8)},
        ),
        "local": Entry(
            "rows, and windows of side n (7), both ways",
            "LocalMamba (arXiv 2403.09338)",
            {2: "hw+windows:{}".format, 3: "dhw+windows:{}".format},
            directions=2,
            number=7,
            merge="attention",
        ),
        "atrous": Entry(
            "each lattice of stride n (2), rows and columns in turn",
            _ATROUS,
            {2: _lattices(lambda step: step**2), 3: _lattices(lambda step: step**3)},
            number=2,
        ),
        "atrous_released": Entry(
            "the first four lattices of stride n (3) only, as the released code has it",
            _ATROUS,
            {2: _released_lattices},
            number=3,
        ),
        "omnidirectional": Entry(
            "rows, columns and wrapped diagonals, both ways",
            "RS-Mamba (arXiv 2404.02668)",
            {2: "hw+wh+diagonal_wrapped+diagonal_wrapped:1", 3: "dhw+hwd+wdh+diagonal_wrapped+diagonal_wrapped:1"},
            directions=2,
        ),
        "diagonal": Entry(
            "diagonals from two corners (3D: planes from four), both ways",
            "survey (arXiv 2410.02362), figure of the omnidirectional scan",
            {2: "diagonal+diagonal:1", 3: "diagonal+diagonal:1+diagonal:2+diagonal:3"},
            directions=2,
        ),
        "hierarchical": Entry(
            "rows n (7) times in the first layer, in each layer two fewer",
            "Motion Mamba (arXiv 2403.07487)",
            {2: _layers, 3: _layers},
            number=7,
        ),
        "multi_head": Entry(
            "each both ways, by head: snakes along rows and columns, diagonals with turns, spirals, rows and columns",
            "MHS-VM (arXiv 2406.05992)",
            {
                2: _heads(
                    "snake:hw snake:wh", "diagonal_snake:0,wh diagonal_snake:1,wh", "spiral:hw spiral:hw,2", "hw wh"
                ),
                3: _heads(
                    "snake:dhw snake:hwd", "diagonal_snake:0 diagonal_snake:1", "spiral:dhw spiral:dhw,2", "dhw hwd"
                ),
            },
            merge="variation",
        ),
        "multi_path": Entry(
            "rows, rows backwards, a random order (new in each step of training)",
            "RSMamba (arXiv 2403.19654)",
            {2: "hw+-hw+shuffled", 3: "dhw+-dhw+shuffled"},
            shared=True,
            merge="gate",
        ),
        "spatio_temporal": Entry(
            "rows, rows backwards, slices fastest", "Vivim (arXiv 2401.14168)", _PLANES, merge="mean"
        ),
        "tri_oriented": Entry("rows, rows backwards, slices fastest", "SegMamba (arXiv 2401.13560)", _PLANES),
        "pixel": Entry(
            "rows inside each window of side n (5) for itself, both ways",
            _LKM,
            {2: "|windows:{}".format, 3: "|windows:{}".format},
            directions=2,
            number=5,
        ),
        "pixel_released": Entry(
            "rows of each lattice of stride n (5) for itself, both ways, as the released code has it",
            _LKM,
            {2: "|lattice:{}".format, 3: "|lattice:{}".format},
            directions=2,
            number=5,
        ),
        "patch": Entry(
            "rows of the means of blocks of side n (2), both ways",
            _LKM,
            {2: "pooled:{},hw".format, 3: "pooled:{},dhw".format},
            directions=2,
            number=2,
        ),
        "slice": Entry(
            "strips of n (4) lines along each axis, both ways",
            "SliceMamba (arXiv 2407.08481)",
            {2: _strips("hw"), 3: _strips("dhw")},
            directions=2,
            number=4,
        ),
        "mamba_nd": Entry(
            "along each axis forwards and backwards, layer by layer",
            _MAMBA_ND,
            {2: ("hw", "-hw", "wh", "-wh"), 3: ("dhw", "-dhw", "dwh", "-dwh", "whd", "-whd")},
        ),
        "mamba_nd_factorised": Entry(
            "inside each slice, then across slices, forwards and backwards, layer by layer",
            _MAMBA_ND,
            {3: ("d|hw", "-d|hw", "hw|d", "-hw|d")},
        ),
        "tri_plane": Entry(
            "the volume, each slice for itself, each row plane for itself, layer by layer",
            "TP-Mamba (arXiv 2409.08492)",
            {3: ("dhw", "d|hw", "h|dw")},
        ),
        "channel": Entry(
            "channels are the steps, each holds the whole map", "U-Mamba (arXiv 2401.04722)", _ROWS, channels=True
        ),
        "channel_bidirectional": Entry(
            "channels are the steps, both ways", "VmambaIR (arXiv 2403.11423)", _ROWS, directions=2, channels=True
        ),
        "siamese": Entry(
            "rows, with positions, channels and both reversed",
            "nnMamba (arXiv 2402.03526)",
            {2: "hw+~hw", 3: "dhw+~dhw"},
            directions=2,
            shared=True,
            merge="mean",
        ),
        "reordered": Entry(
            "rows, and every n-th (10) position in turn",
            "MambaMIL (arXiv 2403.06800)",
            {2: "hw+interleaved:{}".format, 3: "dhw+interleaved:{}".format},
            number=10,
        ),
        "parallel": Entry(
            "rows of n (4) groups of channels",
            "UltraLight VM-UNet (arXiv 2403.20035)",
            {2: "hw", 3: "dhw"},
            number=4,
            shared=True,
            groups=4,
        ),
        "masked": Entry(
            "cross, with a random part of the sequences left out in every call",
            "MambaMIR (arXiv 2402.18451)",
            {2: "hw+wh", 3: "dhw+hwd+wdh"},
            directions=2,
            merge="mask",
        ),
        "spiral": Entry(
            "round and round outwards from the centre (3D: slices outwards and inwards in turn)",
            "I2I-Mamba (arXiv 2405.14022)",
            {2: "-spiral", 3: "-spiral"},
        ),
        "radial": Entry(
            "by distance from the centre, then by angle, both ways",
            "none; the natural definition",
            {2: "radial", 3: "radial"},
            directions=2,
        ),
        "tree": Entry(
            "breadth first through a minimum spanning tree of the grid, both ways",
            "MamMIL (arXiv 2403.05160)",
            {2: "tree", 3: "tree"},
            directions=2,
        ),
        "semantic": Entry(
            "sorted by the strongest channel", "MambaIRv2 (arXiv 2411.15269)", {2: "semantic", 3: "semantic"}
        ),
    }
)
