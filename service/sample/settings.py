"""The sample's own settings."""

from dataclasses import dataclass

from service import setting_parsers as parse
from service.settings import setting


@dataclass(frozen=True)
class SampleSettings:
    """A visitor's quotas, and what the page shows."""

    max_files: int = setting(parse.integer(0, 1_000_000), "1000", "The most files that a visitor may keep.")
    max_total_bytes: int = setting(parse.size(0, 2**50), "5GiB", "The most bytes that a visitor may keep.")
    page_numbers: bool = setting(
        parse.boolean,
        "false",
        "Show the service's own metrics to every visitor of the page: busy threads, requests, errors, latency.",
    )
    docs_url: str = setting(
        parse.web_address,
        "",
        "Where docs/ is published, for the page's links to the practices; when empty they lead to Google's guide.",
    )


FEATURE_SETTINGS = SampleSettings
