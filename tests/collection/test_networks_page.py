"""The page of networks is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from medmamba_monai.__main__ import main
from medmamba_monai.collection.checks import InputError
from medmamba_monai.collection.networks_page import page, with_page
from medmamba_monai.networks import nets

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_page(text) == text, "run: python -m medmamba_monai networks --markdown docs/networks.md"


@pytest.mark.parametrize("name", nets.__all__)
def test_every_network_has_a_section(name: str) -> None:
    section = page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    network = getattr(nets, name)
    assert network.source.paper in section and network.source.licence in section and network.source.verified in section
    for key, variant in network.variants.items():
        assert f"| `{key}` | {variant.parameters:,} |" in section


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "a\n<!-- networks: python -m medmamba_monai networks --markdown FILE -->\n<!-- end of networks -->\nb\n"
    )
    assert main(["networks", "--markdown", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith("a\n") and text.endswith("\nb\n") and page() in text
    assert main(["networks"]) == 0
    assert "VMUNet" in capsys.readouterr().out


def test_a_file_without_marks_is_refused() -> None:
    with pytest.raises(InputError, match="end of networks"):
        with_page("nothing")
