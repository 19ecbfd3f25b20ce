"""docs/settings.md says what the settings classes say."""

from __future__ import annotations

from tests.documents.settings_table import COMMAND, PAGE, undescribed, with_tables


def test_the_page_has_the_tables_of_the_settings_classes() -> None:
    """Each table is the one that the command writes."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_tables(page), f"run {COMMAND}"
    assert page.count("| `MAAS_TRAINING_LEASE_SECONDS` | `15` | > 0 |") == 1


def test_every_setting_is_described() -> None:
    """A field without a description would be a row without a meaning."""
    assert list(undescribed()) == []
