"""What a network of the literature is: its published sizes, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch import nn

from medmamba_monai.networks.blocks.arguments import check_choice

Self = TypeVar("Self", bound="PublishedNetwork")


UNRECORDED = "not recorded here: see the repository before you copy from it; this package copies nothing"
NO_FILE = (
    "no licence file was seen; the repository may have one: see there before you copy from it; this package copies "
    "nothing"
)


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


# Names of the parts of networks that make features of the image, in all families.
ENCODER_PARTS = (
    "stem", "stem_norm", "patch_embed", "pos_embed", "cls_token", "project", "patches", "patch_norms", "encoder",
    "encoder_norms", "stages", "layers", "blocks", "mixers", "norms", "merges", "downs", "down_norms", "embed_norms",
)  # fmt: skip
_FIRST_PARTS = ("stem", "stem_norm", "patch_embed", "patches", "patch_norms", "project")


class PublishedNetwork(nn.Module):
    """A network with published sizes and a known source; a base class.

    Example:
        >>> PublishedNetwork.from_variant("tiny")
        Traceback (most recent call last):
        ValueError: name is 'tiny': PublishedNetwork has no published sizes; use one of its constructor's arguments
    """

    variants: ClassVar[Mapping[str, Variant]] = {}
    source: ClassVar[Source]
    encoder_parts: ClassVar[tuple[str, ...]] = ENCODER_PARTS
    _frozen: str = ""

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

    def freeze_encoder(self, frozen: bool = True, patch_embed: bool = True) -> None:
        """Stop (or let go on) the training of what makes the features, the first layers included or not.

        A frozen encoder also stays in evaluation mode, so that its norms keep their statistics and nothing is dropped.

        Raises:
            ValueError: when the network has no part that is an encoder.

        Example:
            >>> from medmamba_monai.networks.nets import VMamba
            >>> net = VMamba(2, 1, 2, depths=[1], dims=[8])
            >>> net.freeze_encoder()
            >>> sorted(name for name, p in net.named_parameters() if p.requires_grad)
            ['head.bias', 'head.weight', 'norm.bias', 'norm.weight']
        """
        self._frozen = ("all" if patch_embed else "deeper") if frozen else ""
        found = [(name, p) for name, p in self.named_parameters() if self._in_encoder(name)]
        if not found:
            raise ValueError(f"{type(self).__name__} has no encoder: set requires_grad of its parameters yourself")
        for name, parameter in found:
            if patch_embed or not _is_first(name):
                parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self: Self, mode: bool = True) -> Self:
        super().train(mode)
        if mode and self._frozen:
            for name, module in self.named_modules():
                if self._in_encoder(name) and (self._frozen == "all" or not _is_first(name)):
                    # only the module itself: its parts are met in turn, and the first layers may go on
                    module.training = False
        return self

    def _in_encoder(self, name: str) -> bool:
        return name.removeprefix("frame.").split(".")[0] in self.encoder_parts


def _is_first(name: str) -> bool:
    return any(part in _FIRST_PARTS for part in name.split("."))
