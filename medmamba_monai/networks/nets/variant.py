"""What a network of the literature is: its published sizes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import nn

from medmamba_monai.networks.blocks.arguments import check_choice

Self = TypeVar("Self", bound="PublishedNetwork")


UNRECORDED = "not recorded here: see the repository before you copy from it; this package copies nothing"


class Variant(NamedTuple):
    """Constructor arguments of a published network, and its number of parameters with them."""

    arguments: Mapping[str, Any]
    parameters: int


class Source(NamedTuple):
    """Where a network comes from and how far it was checked against its authors' code.

    Args:
        paper: title and arXiv id.
        code: the authors' repository and the commit that was compared.
        licence: licence of the authors' code, in words.
        verified: what agrees with the authors' code.
    """

    paper: str
    code: str
    licence: str
    verified: str


class PublishedNetwork(nn.Module):
    """A network with published sizes and a known source; a base class.

    Example:
        >>> PublishedNetwork.from_variant("tiny")
        Traceback (most recent call last):
        ValueError: name is 'tiny': PublishedNetwork has no published sizes; use one of its constructor's arguments
    """

    variants: ClassVar[Mapping[str, Variant]] = {}
    source: ClassVar[Source]

    @classmethod
    def from_variant(cls: type[Self], name: str, **overrides: Any) -> Self:
        """Build a published size; `variants` lists names and parameter counts.

        Raises:
            ValueError: when the name is unknown.
        """
        if not cls.variants:
            known = f"{cls.__name__} has no published sizes; use one of its constructor's arguments"
            raise ValueError(f"name is {name!r}: {known}")
        check_choice("name", name, tuple(cls.variants))
        return cls(**{**cls.variants[name].arguments, **overrides})
