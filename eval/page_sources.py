"""Where pages for evaluation come from, and whom they are credited to."""

import re
from dataclasses import dataclass

UNKNOWN = "not known here: its rows name no author, so ask the source whom to credit"


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
        "[Introduction to Anthropology](https://github.com/openstax/osbooks-introduction-anthropology), a textbook",
        "OpenStax, Rice University; access for free at [openstax.org](https://openstax.org). Its metadata said CC "
        "BY 4.0; the date of this copy was not recorded, and later ones may be under another licence",
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
        "Yiming Cui and others, HIT and iFLYTEK; the articles' authors on Wikipedia. The licence is the one that the "
        "copy on the Hub, [hfl/cmrc2018](https://huggingface.co/datasets/hfl/cmrc2018), names; the README of their "
        "repository does not confirm it",
    ),
    Source(
        r"LawRefBook/Laws/.*",
        "Regulations of Chongqing, from [LawRefBook/Laws](https://github.com/LawRefBook/Laws)",
        "the legislators of Chongqing; of the collection LawRefBook",
    ),
]


def find_source(page_source):
    """What is known of a page's source, and what of it the page is of: `tuple[Source, str]`."""
    for source in SOURCES:
        if match := re.fullmatch(source.pattern, page_source):
            return source, source.page.format(*match.groups())
    return Source(re.escape(page_source), f"`{page_source}`", UNKNOWN), ""
