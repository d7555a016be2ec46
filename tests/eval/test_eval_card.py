"""The card and the texts beside it say what the committed results say. Run: pytest tests/eval/test_eval_card.py"""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.utils import validate_repo_id

from c3 import C3Model
from c3.checkpoint_c3 import rounded
from c3.cli.main import main as c3_main
from c3.eval import card as card_c3
from c3.eval.card import PART, TEXTS
from c3.eval.card_parts import CARD_FIGURES, CARD_TABLES, PAGES
from c3.eval.hub_results import FILE
from c3.eval.report import distinct, mean, select
from c3.eval.result_file import Results
from c3.fingerprints_c3 import fingerprint_tensors
from c3.stored_weights_c3 import stored_weights
from eval_files import main
from figure_files import drawn

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "eval" / "results"
COMMITTED = [path for path in sorted(RESULTS.rglob("*.json")) if path.name != "like_for_like.json"]


@pytest.fixture
def copy(tmp_path):
    """A copy of the results without figures, and of the texts; the folder and what `card` needs to know of it."""
    shutil.copytree(RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png", "*.svg"))
    for name in ("README.md", FILE, *TEXTS):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path, ["card", "--results", str(tmp_path / "results"), "--card", str(tmp_path / "README.md")]


@pytest.fixture
def one_figure(monkeypatch):
    """Only the first figure is drawn, which saves seconds; all are where the results are of both languages."""
    monkeypatch.setattr(card_c3, "CARD_FIGURES", {"whole_pages": CARD_FIGURES["whole_pages"]})


@pytest.fixture
def bilingual(copy):
    """The copy, with results of Chinese pages and a text that asks for them; 0.75 stands for what they would say."""
    folder, arguments = copy
    result = json.loads((folder / "results/pages.json").read_bytes())
    result["data"][0] |= {"name": "pages_zh.parquet", "n_pages": 14}
    score(result, "4x", 0.75)
    for row in select(result["examples"], setting="40x")[:2]:
        row["counted_ratio"] = 39.5
    (folder / "results/zh/pages.json").write_text(json.dumps(result))
    if "results: pages_zh" not in text_of(folder / "model_card.md"):
        with open(folder / "model_card.md", "a", encoding="utf-8") as file:
            file.write("<!-- results: pages_zh -->\n<!-- end of results -->\n")
    return folder, arguments


def score(result, setting, precision):
    """Makes the precision of every page at a ratio this one."""
    for row in select(result["examples"], setting=setting):
        row["scores"]["precision"] = precision


def text_of(path):
    return path.read_text(encoding="utf-8")


def change(path, before, after):
    text = text_of(path)
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def ask_for_missing(folder, name):
    (folder / f"results/{PAGES[name]}.json").unlink()
    change(folder / "model_card.md", "results: pages_en", f"results: {name}")


# What is committed


def test_the_committed_texts_say_what_the_committed_results_say():
    """If this fails: c3 eval card --results eval/results"""
    main(["card", "--results", str(RESULTS), "--check"])


def test_every_part_stands_somewhere_and_the_readme_has_the_cards_table():
    found = {name: PART.findall(text_of(ROOT / name)) for name in ("README.md", *TEXTS)}
    measured = Results(RESULTS)
    assert set(sum(found.values(), [])) == {
        name for name in CARD_TABLES if name not in PAGES or PAGES[name] in measured
    }
    assert "pages_en" in found["README.md"] and {"pages_en", "fox"} <= set(found["model_card.md"])


def test_only_the_readme_has_metadata():
    """The Hub reads those of no other file."""
    card = ModelCard.load(ROOT / "README.md")
    assert card.data.license == "apache-2.0" and card.data.language == ["en", "zh"]
    assert card.data.library_name == "transformers" and card.data.pipeline_tag and "c3" in card.data.tags
    assert card.data.model_name == "C3 mini" and card.data.eval_results
    assert [name for name in TEXTS if text_of(ROOT / name).startswith("---")] == []


@pytest.mark.parametrize("name", ["model_card.md", "docs/results.md"])
def test_numbers_of_the_prose_stand_in_the_tables(name):
    text = text_of(ROOT / name)
    if name == "model_card.md":
        text = text[text.index("## Measured") : text.index("## How it was trained")]
    prose = PART.sub("", text)
    in_tables = set(re.findall(r"\d+\.\d+", "".join(match[0] for match in PART.finditer(text))))
    in_prose = set(re.findall(r"\d+\.\d+", re.sub(r"arXiv \d+\.\d+|arxiv\.org/abs/\S+|Qwen2\.5\S*|`[^`]*`", "", prose)))
    assert in_tables and in_prose <= in_tables


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_results_are_of_the_weights_that_they_should_be_and_name_no_folders(path, shipped):
    result = json.loads(path.read_bytes())
    folder = path.relative_to(RESULTS).parts[0]
    assert result["model"]["weights_fingerprint"] == shipped.get(folder, shipped["default"])
    assert result.get("adapter_fingerprint") == (shipped["adapter"] if folder == "ask" else None)
    assert not any("output" in row for row in result.pop("examples"))
    # Hub ids are the only names with a slash.
    names = re.findall(r'"[^"]*[/\\][^"]*"', json.dumps(result))
    assert set(names) <= {'"Qwen/Qwen2.5-1.5B"'}
    assert not any(each["benchmark"] for each in result["data"])


@pytest.fixture(scope="module")
def shipped():
    """Fingerprints of weights by the folder of their results, of which a recipe's run is not shipped; the adapter's."""
    model = C3Model.from_pretrained(ROOT, dtype="bfloat16")
    return {
        "default": model.latent_provenance().weights_fingerprint,
        "vist2_mini": "b206eb29d6051174",
        "adapter": fingerprint_tensors(stored_weights(model.answering()), rounded),
    }


FIGURES = [name for name, (needed, _) in CARD_FIGURES.items() if needed in Results(RESULTS)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "whole_pages" else pytest.mark.slow) for name in FIGURES]
)
def test_committed_figures_show_the_committed_results(name, tmp_path):
    """If this fails: c3 eval card --results eval/results"""
    CARD_FIGURES[name][1](Results(RESULTS), tmp_path / "figure")
    assert drawn(tmp_path / "figure.svg") == drawn(RESULTS / f"{name}.svg")
    assert (RESULTS / f"{name}.png").stat().st_size > 1000


def test_the_readme_shows_the_pages_beside_what_was_published():
    """With words for those who do not see it, and what the pages are not."""
    (words,) = re.findall(r"!\[(.+)\]\(eval/results/whole_pages.svg\)", text_of(ROOT / "README.md"))
    rows = Results(RESULTS)["pages"]["examples"]
    at_20, at_40 = (mean(select(rows, setting=setting), "scores", "precision") for setting in ("20x", "40x"))
    assert f"above {int(at_20 * 100) / 100} up to 20x and falls to {at_40:.2f} at 40x" in words
    assert words.startswith("Precision") and words.endswith("C3 and DeepSeek-OCR as published on Fox")
    figure = text_of(RESULTS / "whole_pages.svg")
    assert "not Fox" in figure and "C3, 4.5 B parameters, on Fox: published by its authors" in figure
    assert "DeepSeek-OCR on Fox: published by C3's authors" in figure


# What the command does


def test_a_part_says_what_was_not_measured(copy):
    folder, _ = copy
    path = folder / "results/zh/fox.json"
    result = json.loads(path.read_bytes())
    for limit, left_out, wanted in (
        (14, ["nothing, but 9 pages have more windows than 32 and so a latent for each (zh_1, zh_3)"], ["Of", "Left"]),
        (None, [], []),
    ):
        result["options"]["limit"], result["left_out"] = limit, left_out
        path.write_text(json.dumps(result))
        table, *notes = CARD_TABLES["methods_zh"](Results(folder / "results")).split("\n\n")
        assert table.startswith("| latents | pages |") and [note.split()[0] for note in notes] == wanted
        if notes:
            assert notes[0] == "Of pages_zh.parquet the first 14 rows."
            assert notes[1].endswith("9 pages have more windows than 32 and so a latent for each.")


def test_metadata_and_entries_of_both_languages(bilingual):
    folder, arguments = bilingual
    main(arguments)
    card = ModelCard.load(folder / "README.md")
    entries = parse_eval_result_entries(yaml.safe_load(text_of(folder / FILE)))
    results = Results(folder / "results")
    wanted = [
        (name, setting, mean(select(results[file]["examples"], setting=setting), "scores", "precision"))
        for name, file in PAGES.items()
        for setting in distinct(results[file]["examples"], "setting")
    ]
    assert len(wanted) == 2 * len(results["pages"]["options"]["ratios"]) and ("pages_zh", "4x", 0.75) in wanted
    values = pytest.approx([value for _, _, value in wanted], abs=1e-4)
    assert [each.metric_value for each in card.data.eval_results] == values
    assert all("not Fox" in each.dataset_name for each in card.data.eval_results)
    unreached = [
        each.metric_name
        for each in card.data.eval_results
        if "at 40x asked, not reached by 2 pages" in each.metric_name
    ]
    assert len(unreached) == 1 and len([each for each in entries if "not reached by 2 pages" in each.notes]) == 1
    assert card.data.license == "apache-2.0" and card.data.model_name == "C3 mini"
    assert [each.value for each in entries] == values
    assert [(each.dataset_id, each.task_id) for each in entries] == [
        (f"c3-own-{name.replace('_', '-')}", f"reconstruction_{setting}") for name, setting, _ in wanted
    ]
    for entry, (name, setting, _) in zip(entries, wanted, strict=True):
        validate_repo_id(entry.dataset_id)
        result = results[PAGES[name]]
        for said in (f" {result['data'][0]['n_pages']} pages", "not Fox", "no registered benchmark", f"at {setting}"):
            assert said in entry.notes
        assert result["model"]["weights_fingerprint"] in entry.notes
        # Nobody verified it, and there is no place elsewhere that shows it.
        assert entry.verify_token is entry.source_url is entry.dataset_revision is entry.date is None
    assert "| 75.00% [" in text_of(folder / "model_card.md")
    drawn = {path.relative_to(folder / "results").as_posix() for path in (folder / "results").rglob("*.[ps][nv]g")}
    wanted = {name for name, (needed, _) in CARD_FIGURES.items() if needed in results}
    assert len(wanted) > 10 and drawn == {f"{name}.{ending}" for name in wanted for ending in ("png", "svg")}
    figure = text_of(folder / "results/whole_pages.svg")
    assert "pages of pages_en.parquet, not Fox" in figure and "14 pages of pages_zh.parquet, not Fox" in figure
    main([*arguments, "--check"])


def test_entries_are_compared_and_made_where_there_are_none(copy, one_figure):
    folder, arguments = copy
    whole = text_of(folder / FILE)
    change(folder / FILE, "value: 0.", "value: 0.1")
    with pytest.raises((OSError, ValueError), match="pages.yaml: not what .* says"):
        main([*arguments, "--check"])
    shutil.rmtree((folder / FILE).parent)
    with pytest.raises((OSError, ValueError), match="pages.yaml: not what .* says"):
        main([*arguments, "--check"])
    assert not (folder / FILE).exists()
    main(arguments)
    assert text_of(folder / FILE) == whole
    assert [each.name for each in (folder / FILE).parent.iterdir()] == ["pages.yaml"]


def test_prose_is_kept_and_tables_are_written_anew(copy, one_figure, capsys):
    folder, arguments = copy
    card, table = folder / "model_card.md", re.search(r"\| 4x \|.*", text_of(folder / "model_card.md"))[0]
    change(card, "## How it was trained", "Prose of 2026.\n\n## How it was trained")
    change(card, table, table.replace("9", "8"))
    with pytest.raises((OSError, ValueError), match="model_card.md: not what .* says"):
        main([*arguments, "--check"])
    assert c3_main(["eval", *arguments]) == 0
    assert str(card) in capsys.readouterr().out
    assert "Prose of 2026." in text_of(card) and table in text_of(card)
    main([*arguments, "--check"])


def test_a_changed_result_is_noticed(copy, one_figure):
    folder, arguments = copy
    path = folder / "results" / "pages.json"
    result = json.loads(path.read_bytes())
    score(result, "4x", 0.5)
    path.write_text(json.dumps(result))
    with pytest.raises((OSError, ValueError), match="README.md and model_card.md.*: not what"):
        main([*arguments, "--check"])
    main(arguments)
    for name in ("model_card.md", "README.md"):
        assert "| 50.00% [" in text_of(folder / name)


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda folder: shutil.rmtree(folder / "results"), "holds no result files"),
        (lambda folder: (folder / "results/pages.json").unlink(), "holds no pages.json"),
        (lambda folder: (folder / "results/fox.json").write_text("[1"), "fox.json is not a result file"),
        (lambda folder: change(folder / "results/fox.json", '"n_examples": ', '"n_examples": 1'), "lacks .* examples"),
        (lambda folder: (folder / "README.md").unlink(), "README.md"),
        (lambda folder: change(folder / "model_card.md", "results: pages_en", "results: pages_fr"), "`pages_fr`, but"),
        (lambda folder: change(folder / "README.md", "<!-- end of results -->", ""), "README.md has a `<!-- results"),
        (lambda folder: change(folder / "README.md", "- name: C3 mini\n", "- nom: x\n"), "model_(name|index)"),
        (lambda folder: ask_for_missing(folder, "pages_zh"), "no zh/pages.json"),
        (
            lambda folder: change(folder / "results/fox.json", '"weights_fingerprint": "', '"weights_fingerprint": "f'),
            "oth",
        ),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(copy, break_it, message):
    folder, arguments = copy
    # Something to write, if it were not for the error.
    change(folder / "model_card.md", "| 4x |", "| 5x |")
    break_it(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".md", ".yaml")}
    with pytest.raises((OSError, ValueError), match=message) as error:
        main(arguments)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".md", ".yaml")}
