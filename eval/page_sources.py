"""Where pages for evaluation come from, whom they are credited to, and under which licences they may be passed on."""

import re
from dataclasses import dataclass

from c3.quoting_c3 import listed, quoted

PUBLIC_DOMAIN = "other"  # the Hub has no identifier for it
# What a page's column `license` may say, and the Hub's identifiers: only what lets anyone pass the text on.
LICENSES = {
    "CC BY 3.0": ["cc-by-3.0"],
    "CC BY 4.0": ["cc-by-4.0"],
    "CC BY 4.0 (OpenStax, Rice University)": ["cc-by-4.0"],
    "CC BY-SA 3.0": ["cc-by-sa-3.0"],
    "CC BY-SA 4.0": ["cc-by-sa-4.0"],
    "CC0": ["cc0-1.0"],
    "CC0-1.0": ["cc0-1.0"],
    "GPL-2+ or CC BY-SA 3.0": ["cc-by-sa-3.0"],
    "US government work / CC0": ["cc0-1.0"],
    "US government work (public domain)": [PUBLIC_DOMAIN],
    "US government work (public domain); transcription CC BY 3.0": [PUBLIC_DOMAIN, "cc-by-3.0"],
    "public domain": [PUBLIC_DOMAIN],
    "public domain (PRC laws and regulations, Copyright Law art. 5)": [PUBLIC_DOMAIN],
}


@dataclass(frozen=True)
class Source:
    """
    Many pages' common source.

    Args:
        pattern (`str`): of what their column `source` says; its groups fill the places `{}` of `page`.
        name (`str`): of the source, in Markdown.
        credit (`str`): whom to name.
        page (`str`): what of the source a page is of, where the credit depends on it.
    """

    pattern: str
    name: str
    credit: str
    page: str = ""


SOURCES = [
    Source(
        r"JOSE paper (10\.\d+)\.(jose\.\d+)",
        "[The Journal of Open Source Education](https://jose.theoj.org)",
        "the authors that each paper names",
        "[{0}/{1}](https://doi.org/{0}/{1})",
    ),
    Source(
        r"Debian handbook .*",
        "[The Debian Administrator's Handbook](https://debian-handbook.info)",
        "Raphaël Hertzog and Roland Mas",
    ),
    Source(
        r"openstax/osbooks-introduction-anthropology/.*",
        "Introduction to Anthropology",
        "OpenStax, Rice University; access for free at [openstax.org](https://openstax.org)",
    ),
    Source(r"18F/handbook/.*", "[The 18F handbook](https://github.com/18F/handbook)", "18F, a US government office"),
    Source(r"NIST SP .*", "NIST Special Publications", "the US National Institute of Standards and Technology"),
    Source(
        r"Mueller report .*",
        "[Open Source Mueller Report](https://github.com/iandennismiller/mueller-report)",
        "the US Department of Justice; of the transcription Ian Dennis Miller, 2019",
    ),
    Source(r"US presidential address (\d+)-(\w+)", "US presidential addresses", "their speakers", "{1} {0}"),
    Source(
        r"github/opensource\.guide/.*",
        "[Open Source Guides](https://github.com/github/opensource.guide)",
        "GitHub, Inc. and contributors",
    ),
    Source(
        r"DRCD/Wikipedia zh-Hant (.*)",
        "[DRCD](https://github.com/DRCKnowledgeTeam/DRCD), of Chinese Wikipedia",
        "Delta Research Center; the articles' authors on Wikipedia",
        "{0}",
    ),
    Source(
        r"CMRC2018/Wikipedia .*",
        "[CMRC 2018](https://github.com/ymcui/cmrc2018), of Chinese Wikipedia",
        "Yiming Cui and others, HIT and iFLYTEK; the articles' authors on Wikipedia",
    ),
    Source(
        r"LawRefBook/Laws/.*",
        "Regulations of Chongqing, from [LawRefBook/Laws](https://github.com/LawRefBook/Laws)",
        "nobody: they have no copyright",
    ),
]


def find_source(page_source):
    """What is known of a page's source, or else itself, and what of it the page is of: `tuple[Source, str]`."""
    for source in SOURCES:
        if match := re.fullmatch(source.pattern, page_source):
            return source, source.page.format(*match.groups())
    return Source(re.escape(page_source), f"`{page_source}`", f"`{page_source}`"), ""


def check_licenses(rows, file_name):
    """
    Raises `ValueError`, in one line, unless every page (`dict`) has a source, and a licence under which anyone may pass
    it on.
    """
    nameless = [str(row["id"]) for row in rows if not row["source"]]
    if nameless:
        raise ValueError(f"{file_name}: without a source nobody is credited: pages {listed(nameless)}")
    refused = {row["license"]: str(row["id"]) for row in reversed(rows) if row["license"] not in LICENSES}
    if refused:
        found = ", ".join(f"{quoted(each) if each else 'none'} (page {page})" for each, page in refused.items())
        raise ValueError(
            f"{file_name}: not known as licences that let anyone pass a text on: {found}; leave such pages out"
        )
