"""What may stand in shop.yml, and what whoever writes it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from handoff.shop import ShopFileInvalid, load_shop

ROOT = Path(__file__).parents[2]


def shop_file(folder: Path, **changes: str) -> Path:
    """The project's own shop.yml with other lines for some keys; an empty one leaves the line out."""
    lines = [
        line
        for line in (ROOT / "shop.yml").read_text(encoding="utf-8").splitlines()
        if line.partition(":")[0] not in changes
    ]
    path = folder / "shop.yml"
    added = [f"{key}: {value}" for key, value in changes.items() if value]
    path.write_text("\n".join([*lines, *added]), encoding="utf-8")
    return path


def test_agents_read_russian_unless_the_shop_says_otherwise(tmp_path: Path) -> None:
    """Older files know nothing of it; a currency is never guessed."""
    shop = load_shop(shop_file(tmp_path, language="", currency=""))

    assert (shop.language, shop.currency) == ("ru", "")


def test_the_shops_language_and_currency_are_read(tmp_path: Path) -> None:
    """They shape the agents' letters."""
    shop = load_shop(shop_file(tmp_path, language="en", currency="€"))

    assert (shop.language, shop.currency) == ("en", "€")


@pytest.mark.parametrize("language", ["de", "RU", "[ru, en]", "no"])
def test_a_language_that_we_do_not_speak_is_refused(tmp_path: Path, language: str) -> None:
    """With file, place and remedy: half-translated letters would be found out by the agents."""
    with pytest.raises(ShopFileInvalid, match=r"shop\.yml: language: .* is not spoken here; write ru or en"):
        load_shop(shop_file(tmp_path, language=language))
