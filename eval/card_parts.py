"""
What of the results goes into the model card and the texts beside it: tables by name, each `(results) -> str`, Markdown,
and figures by name, each `(results, path without ending) -> None`. All numbers are those of the result files.
"""

import re
from functools import partial

from c3.eval.suites import SUITES, adaptive, exact, search
from c3.eval.suites.forgetting import position_table
from c3.eval.suites.fox import bucket_tables, with_language
from c3.eval.suites.pages import draw_together, ratio_tables
from c3.eval.suites.retention import LATENTS, NOTHING, RAW, TRUNCATED, gain, perplexity, short
from c3.eval.suites.robustness import kind_tables

from . import like_for_like_report
from .page_data import describe_pages
from .report import distinct, markdown_table, mean, number, percent, precision_with_interval, ratio_unit
from .report import select as select_rows

# Whole pages, by the language that they are named by here: every result file of these that is there is in the metadata
# and in the figure; a text that asks for one that is not there is an error.
PAGES = {"pages_en": "pages", "pages_zh": "zh/pages"}
# Seconds for the pages of the suite fox at three numbers of latents, on two CPU cores.
TIME_LIMIT = 300
CHINESE, CEILING = "zh/fox", "ceiling/fox"
EXACT, SEARCH = ("exact", "zh/exact"), ("search",)


def pages(results, name):
    """What came back of whole pages of one language at each ratio, of the model alone."""
    result = results[PAGES[name]]
    about = f"{describe_pages(result)}, free-running; ratios in {ratio_unit(result)}."
    tables = ratio_tables(select_rows(result["examples"], method="c3"))
    return "\n\n".join([f"{result['model']['model_name']}, {about}", *tables, *_left_out(result)])


def fox(results):
    """The paper's tables, English, of the model alone, beside what the authors published."""
    rows = select_rows(results["fox"]["examples"], method="c3")
    return "\n\n".join(bucket_tables([row for row in rows if row["group"].startswith("en ")]))


def methods(results, name="fox"):
    """Every method at every number of latents, by language; all scores are in the suite's own report."""
    result = results[name]
    rows = with_language(result["examples"])
    header = ["latents", "pages", "method", "own ratio", "bytes kept / of text", "precision", "token F1", "exact"]
    table = []
    for setting in distinct(rows, "setting"):
        for language in distinct(rows, "language"):
            for method in distinct(rows, "method"):
                chosen = select_rows(rows, setting=setting, language=language, method=method)
                if chosen:
                    sizes = f"{mean(chosen, 'kept_bytes'):.0f} / {mean(chosen, 'text_bytes'):.0f}"
                    scores = [percent(mean(chosen, "scores", score)) for score in ("token_f1", "exact_match")]
                    first = [setting.split()[0], f"{len(chosen)} {language}", method, number(mean(chosen, "own_ratio"))]
                    table.append([*first, sizes, precision_with_interval(chosen), *scores])
    return "\n\n".join([markdown_table(header, table), *_not_measured(result)])


def _not_measured(result):
    """What a suite was told to leave, and what it left out, a sentence each; the ids are in the suite's own report."""
    limit, files = result["options"]["limit"], ", ".join(each["name"] for each in result["data"])
    first = [f"Of {files} the first {limit} rows."] if limit is not None else []
    return first + _left_out(result)


def _left_out(result):
    return [f"Left out: {re.sub(r' [(][^()]*[)]$', '', line)}." for line in result["left_out"]]


def retention(results):
    """Perplexities, and what the latents gain over nothing, in one table; the intervals are in the suite's report."""
    rows = results["retention"]["examples"]
    conditions = (RAW, LATENTS, TRUNCATED, NOTHING)
    header = ["text", "ratio", *(f"after {name}" for name in conditions), "latents over nothing, nats per token"]
    table = []
    for group in distinct(rows, "group"):
        for setting in distinct(rows, "setting"):
            chosen = {name: select_rows(rows, group=group, setting=setting, method=name) for name in conditions}
            value, low, high = gain(chosen[LATENTS], chosen[NOTHING])
            cells = [short(perplexity(each)[0]) for each in chosen.values()]
            table.append([group, setting, *cells, f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"])
    return markdown_table(header, table)


def time_of_pages(results):
    """Seconds of the pages of the suite fox, the model alone at all numbers of latents, as a sentence."""
    result = results["fox"]
    n_pages, settings = sum(each["n_pages"] for each in result["data"]), distinct(result["examples"], "setting")
    seconds = result["timing"]["c3"]
    verdict = "met" if seconds < TIME_LIMIT else "missed"
    return (
        f"{n_pages} pages at {', '.join(settings)}, there and back: {seconds:.0f} s on a {result['options']['device']} "
        f"(the aim, {TIME_LIMIT} s: {verdict})."
    )


def of_suite(results, table, files):
    """What a suite's own table says of each of some result files, in order, of those after the first that are there."""
    parts = []
    for result in [results[file] for file in files if file == files[0] or file in results]:
        parts += [f"{describe_pages(result)}; ratios in {ratio_unit(result)}.", table(result["examples"])]
    return "\n\n".join(parts)


CARD_TABLES = {
    **{name: partial(pages, name=name) for name in PAGES},
    "exact": partial(of_suite, table=exact.cost_table, files=EXACT),
    "exact_time": partial(of_suite, table=exact.time_table, files=EXACT[:1]),
    "fidelity": partial(of_suite, table=exact.fidelity_table, files=EXACT),
    "search": partial(of_suite, table=search.method_table, files=SEARCH),
    "check": partial(of_suite, table=search.check_table, files=SEARCH),
    "margins": partial(of_suite, table=search.margin_table, files=SEARCH),
    "adaptive": lambda results: adaptive.adaptive_table(results["adaptive"]),
    "time": time_of_pages,
    "fox": fox,
    "methods": methods,
    "methods_zh": partial(methods, name=CHINESE),
    "ceiling": partial(methods, name=CEILING),
    "robustness": lambda results: "\n\n".join(kind_tables(results["robustness"]["examples"])),
    "forgetting": lambda results: position_table(results["forgetting"]["examples"]),
    "retention": retention,
    "like_for_like": lambda results: "\n\n".join(like_for_like_report.tables(results["like_for_like"])),
}


def draw_pages(results, path):
    """The pages of all languages in one figure, beside what the paper's authors published."""
    draw_together([results[name] for name in PAGES.values() if name in results], path)


def draw_suite(results, path, name):
    result = results[name]
    SUITES[result["suite"]].draw(result, path)


# What a figure is made of, and by what.
CARD_FIGURES = {
    "whole_pages": (PAGES["pages_en"], draw_pages),
    "like_for_like": ("like_for_like", lambda results, path: like_for_like_report.draw(results["like_for_like"], path)),
    **{name: (name, partial(draw_suite, name=name)) for name in (*SUITES, PAGES["pages_zh"], CHINESE, CEILING)},
}
