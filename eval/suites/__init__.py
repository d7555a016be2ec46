"""The suites by name; to add one, write its file with a `SUITE` and register it here."""

from . import forgetting, fox, pages, retention, robustness

SUITES = {
    "pages": pages.SUITE,
    "fox": fox.SUITE,
    "forgetting": forgetting.SUITE,
    "robustness": robustness.SUITE,
    "retention": retention.SUITE,
}
