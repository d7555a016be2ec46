"""The suites by name; to add one, write its file with a `SUITE` and register it here."""

from . import adaptive, ask, exact, forgetting, fox, global_compression, pages, retention, robustness, search

SUITES = {
    "pages": pages.SUITE,
    "fox": fox.SUITE,
    "forgetting": forgetting.SUITE,
    "robustness": robustness.SUITE,
    "retention": retention.SUITE,
    "global": global_compression.SUITE,
    "exact": exact.SUITE,
    "search": search.SUITE,
    "adaptive": adaptive.SUITE,
    "ask": ask.SUITE,
}
