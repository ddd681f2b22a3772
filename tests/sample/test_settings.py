"""The sample's own settings."""

from scripts import settings_page


def test_the_settings_page_has_them_and_no_others() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page()
