"""Under which licences pages for evaluation may be passed on, and how a card names them."""

from dataclasses import dataclass

from c3.quoting_c3 import listed, quoted

PUBLIC_DOMAIN = "other"  # the Hub has no identifier for it


@dataclass(frozen=True)
class License:
    """
    Args:
        identifiers (`list[str]`): the Hub's.
        terms (`str`): in Markdown; of a licence its address, which Creative Commons asks for.
    """

    identifiers: list
    terms: str


def _creative_commons(kind, version):
    name = f"[CC {kind.upper()} {version}](https://creativecommons.org/licenses/{kind}/{version}/)"
    return License([f"cc-{kind}-{version}"], name)


BY_3, BY_4 = _creative_commons("by", "3.0"), _creative_commons("by", "4.0")
BY_SA_3, BY_SA_4 = _creative_commons("by-sa", "3.0"), _creative_commons("by-sa", "4.0")
CC0 = License(["cc0-1.0"], "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)")
GPL_2 = "[GPL 2 or later](https://www.gnu.org/licenses/old-licenses/gpl-2.0.html)"
US_WORK = License(
    [PUBLIC_DOMAIN],
    "none: as a work of the US government in the public domain in the United States, which is not so everywhere",
)
# What a page's column `license` may say: only what lets anyone pass the text on.
LICENSES = {
    "CC BY 3.0": BY_3,
    "CC BY 4.0": BY_4,
    "CC BY 4.0 (OpenStax, Rice University)": BY_4,
    "CC BY-SA 3.0": BY_SA_3,
    "CC BY-SA 4.0": BY_SA_4,
    "CC0": CC0,
    "CC0-1.0": CC0,
    "GPL-2+ or CC BY-SA 3.0": License(BY_SA_3.identifiers, f"{GPL_2}, or {BY_SA_3.terms}"),
    "US government work / CC0": License(CC0.identifiers, f"{US_WORK.terms}; elsewhere {CC0.terms}"),
    "US government work (public domain)": US_WORK,
    "US government work (public domain); transcription CC BY 3.0": License(
        [PUBLIC_DOMAIN, *BY_3.identifiers], f"{US_WORK.terms}; of the transcription {BY_3.terms}"
    ),
    "public domain": License([PUBLIC_DOMAIN], "none: said to be in the public domain, which is not so everywhere"),
    "public domain (PRC laws and regulations, Copyright Law art. 5)": License(
        [PUBLIC_DOMAIN],
        "none: laws and regulations have no copyright in China (Copyright Law, art. 5); elsewhere they may have",
    ),
}


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
