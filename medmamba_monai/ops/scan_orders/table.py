"""The table of scan orders: for each its paths, directions, share of parameters and merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Entry:
    """A named order.

    Args:
        paths: for each number of axes the paths, joined by "+", or several such texts that layers take in turn, or
            a function that makes the text from the order's number.
        directions: 1 for forwards only, 2 for both.
        number: the number taken where the name brings none, as in "local:2"; None where there is none.
        shared: one set of parameters for all sequences.
        merge: how the sequences' results become one grid.
    """

    paths: Mapping[int, str | tuple[str, ...] | Callable[[int], str]]
    directions: int = 1
    number: int | None = None
    shared: bool = False
    merge: str = "sum"


def _cycle(path: str, count: int) -> tuple[str, ...]:
    return tuple(f"{path}:{number}" for number in range(count))


def _lattices(spatial_dims: int) -> Callable[[int], str]:
    return lambda step: "+".join(f"atrous:{step},{number}" for number in range(step**spatial_dims))


def _strips(axes: str) -> Callable[[int], str]:
    return lambda width: "+".join(f"strips:{width},{axis}" for axis in axes)


ORDERS: Mapping[str, Entry] = MappingProxyType(
    {
        "raster": Entry({2: "hw", 3: "dhw"}),
        "bidirectional": Entry({2: "hw", 3: "dhw"}, 2),
        "cross": Entry({2: "hw+wh", 3: "dhw+hwd+wdh"}, 2),
        "snake": Entry({2: "snake:hw+snake:wh", 3: "snake:dhw+snake:hwd+snake:wdh"}, 2, shared=True),
        "zigzag": Entry({2: _cycle("zigzag", 8), 3: _cycle("zigzag", 24)}),
        "hilbert": Entry({2: _cycle("hilbert", 8), 3: _cycle("hilbert", 8)}),
        "local": Entry({2: "hw+windows:{}".format, 3: "dhw+windows:{}".format}, 2, 7),
        "atrous": Entry({2: _lattices(2), 3: _lattices(3)}, 1, 2),
        "slice": Entry({2: _strips("hw"), 3: _strips("dhw")}, 2, 4),
        "diagonal": Entry({2: "diagonal:0+diagonal:1", 3: "diagonal:0+diagonal:1+diagonal:2+diagonal:3"}, 2),
    }
)
