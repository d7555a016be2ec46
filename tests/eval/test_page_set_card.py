"""The card of a dataset of pages says what their files say. Run: pytest tests/eval/test_page_set_card.py"""

import hashlib
import re
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from c3.eval.page_licenses import LICENSES
from c3.eval.page_set_card import KNOWN, page_set_card

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "eval"
PAGES = [
    {"source": "JOSE paper 10.21105.jose.00075", "license": "CC BY 4.0", "tokens": 700},
    {"source": "JOSE paper 10.21105.jose.00034", "license": "CC BY 4.0", "tokens": 900},
    {
        "source": "US presidential address 1805-Jefferson",
        "license": "US government work (public domain)",
        "tokens": 800,
    },
    {"source": "a | stranger's blog", "license": "CC BY-SA 4.0", "tokens": 600},
]


@pytest.fixture
def pages(tmp_path):
    """`pages(rows, name)`: a .parquet file with an id, a text and a language for each row."""
    import pyarrow
    import pyarrow.parquet

    def write(rows=PAGES, name="pages.parquet"):
        rows = [{"id": f"en_{place}", "text": "A page.", "lang": "en"} | row for place, row in enumerate(rows, 1)]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
        return tmp_path / name

    return write


def test_counts_licences_and_credits_are_those_of_the_rows(pages):
    path, other = pages(), pages([PAGES[0] | {"lang": "zh", "text": "一页。"}], "pages_zh.parquet")
    card = DatasetCard(page_set_card([path, other], "owner/c3-pages"))
    assert card.data.license == ["cc-by-4.0", "cc-by-sa-4.0", "other"] and card.data.license_name == "public-domain"
    assert card.data.language == ["en", "zh"] and card.data.size_categories == ["n<1K"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for said in (
        "5 pages of text",
        "not the Fox benchmark",
        f"| `pages.parquet` | 4 | en | 28 | 600-900 a page | `{digest}` |",
        "| 3 | [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/) | the authors that each paper names; "
        "[10.21105/jose.00034](https://doi.org/10.21105/jose.00034); [10.21105/jose.00075](https://doi.org/",
        "| US presidential addresses | 1 | none: as a work of the US government in the public domain in the United "
        "States, which is not so everywhere | their speakers; Jefferson 1805 |",
        "| `a \\| stranger's blog` | 1 | [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/) | "
        "not known here: its rows name no author",
        "**Changes were made to all:** pages are pieces that were cut out of longer texts, without mark-up",
        "* `pages.parquet`: not known.\n* `pages_zh.parquet`: not known.",
    ):
        assert said in card.text, said


def test_the_card_is_how_datasets_loads_the_files(pages, tmp_path):
    """By name as one configuration each, as the card says."""
    datasets = pytest.importorskip("datasets")
    paths = [pages(), pages(PAGES[:1], "pages_zh.parquet")]
    card = page_set_card(paths, "owner/name")
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert 'load_dataset("owner/name", "pages", split="test")' in card
    assert datasets.get_dataset_config_names(str(tmp_path)) == ["pages", "pages_zh"]
    found = datasets.load_dataset(str(tmp_path), "pages", split="test", cache_dir=str(tmp_path / "cache"))
    assert found["source"] == [row["source"] for row in PAGES]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAGES[0], PAGES[0] | {"license": "CC BY-NC 4.0"}], r"not known as licences .*: 'CC BY-NC 4.0' \(page en_2\)"),
        ([PAGES[0] | {"license": "cc by 4.0 and more"}], r"'cc by 4.0 and more' \(page en_1\); leave such pages out"),
        ([PAGES[0] | {"license": None}, PAGES[0]], r"none \(page en_1\)"),
        ([PAGES[0] | {"source": ""}], "without a source nobody is credited: pages 'en_1'"),
        ([{"source": "a"}], "pages.parquet lacks what a card is written from: columns license"),
    ],
)
def test_pages_that_may_not_be_passed_on_have_no_card(rows, message, pages):
    with pytest.raises(ValueError, match=message) as error:
        page_set_card([pages(rows)], "owner/name")
    assert "\n" not in str(error.value)


def test_no_licence_with_conditions_on_use():
    assert not [name for name in LICENSES if re.search("NC|ND|research", name)]


def test_licences_have_addresses_and_the_public_domain_is_not_everywhere():
    for name, license in LICENSES.items():
        for identifier in license.identifiers:
            kind, version = identifier.removeprefix("cc-").rpartition("-")[::2]
            place = {"other": "elsewhere" if "PRC" in name else "not so everywhere", "cc0-1.0": "/zero/1.0/)"}
            assert place.get(identifier, f"https://creativecommons.org/licenses/{kind}/{version}/)") in license.terms


@pytest.mark.skipif(not SHARED.is_dir(), reason="the pages are not in the repository")
def test_the_pages_that_are_measured_with(tmp_path):
    paths = sorted(SHARED.glob("*.parquet"))
    card = DatasetCard(page_set_card(paths, "owner/c3-pages"))
    assert "112 pages" in card.text and card.text.count("\n* `pages_") == len(KNOWN) == 2
    table = re.search(r"\| source \| pages \|.*?\n\n", card.text, re.DOTALL)[0]
    counts = [int(each) for each in re.findall(r"^\|.*?\| (\d+) \|", table, re.MULTILINE)]
    assert sum(counts) == 112 and min(counts) > 1 and "not known." not in card.text
