"""The result of a run as a Markdown table and as figures."""

from pathlib import Path

from c3.eval.report import markdown_table, new_figure, save_figure
from c3.whole_files_c3 import write_whole

from .harness import Limit
from .registry import BENCHMARKS

HEADER = ["benchmark", "case", "ours", "baseline", "measured [quartiles]", "to reach", ""]


def render(result):
    """The table with what it was measured on, `str`."""
    rows = [_line(name, row, result) for name, row in all_rows(result)]
    left = "; ".join(f"`{name}` ({why})" for name, why in result.get("left_out", {}).items())
    return "\n\n".join([describe(result), markdown_table(HEADER, rows)] + [f"Left out: {left}."] * bool(left))


def all_rows(result):
    """Pairs of a benchmark's name and a row of it."""
    return [(name, row) for name, each in result["benchmarks"].items() for row in each["rows"]]


def describe(result):
    """A paragraph: model, machine, versions, runs."""
    seconds = sum(each["seconds"] for each in result["benchmarks"].values())
    return (
        f"{describe_machine(result)} Medians of {result['runs']} runs after {result['warm_up']} to warm up, ours and "
        "the baseline in turn, unless a row says otherwise; in brackets the quartiles of the runs' ratios. All of it "
        f"took {seconds / 60:.1f} minutes."
    )


def describe_machine(header):
    """A sentence for what `command.describe` found: model, machine, versions."""
    versions = ", ".join(f"{name} {header['versions'][name]}" for name in ("c3", "Python", "torch", "transformers"))
    machine, smoke = header["machine"], "Smoke run: the times say nothing. " if header["smoke"] else ""
    # Results from before this was recorded were measured without it.
    kept = ", freed memory kept" if header.get("keeps_freed_memory") else ""
    return (
        f"{smoke}Model `{header['size']}` in {header['dtype']} on {header['device']}: {machine['hardware']}, "
        f"{machine['cores']} cores, {machine['memory_gb']} GB, {header['threads']} threads{kept}; {versions}."
    )


def verdict(row, smoke=False):
    """
    `"met"`, `"missed"`, or nothing where there is no limit or, in a smoke run, no measurement; and whether one of the
    quartiles says otherwise.
    """
    if "met" not in row or (smoke and not row.get("is_check")):
        return ""
    limit = Limit(**row["limit"])
    is_within_spread = any(limit.is_met(each) != row["met"] for each in row.get("quartiles", []))
    return ("met" if row["met"] else "**missed**") + ", within the spread" * is_within_spread


def _line(name, row, result):
    sides = []
    for side in ("ours", "baseline"):
        found = row.get(side)
        runs = f" ({found['runs']} run{'s' * (found['runs'] > 1)})" if found and found["runs"] != result["runs"] else ""
        sides.append(f"{_quantity(found['median'], found['unit'])}{runs}" if found else "")
    value = _quantity(row["value"], row["unit"])
    if "quartiles" in row:
        value += " [{}, {}]".format(*(_quantity(each, row["unit"]) for each in row["quartiles"]))
    limit = row.get("limit")
    reach = f"at {limit['sense']} {_quantity(limit['number'], row['unit'])}" if limit else ""
    return [f"`{name}`", row["case"], *sides, value, reach, verdict(row, result["smoke"])]


def _quantity(value, unit):
    if unit == "s":
        return f"{value:.2f} s" if abs(value) >= 1 else f"{value * 1e3:.3g} ms"
    if unit == "B":
        return f"{value / 1e6:,.1f} MB"
    if unit == "equal":
        return f"{value:.1%} equal"
    return f"{value:.3g}{unit}"


def draw(result, folder):
    """Writes the figures into a folder, as PNG and SVG: all ratios against their limits, and each benchmark's own."""
    judged = [(name, row) for name, row in all_rows(result) if row.get("limit") and not row.get("is_check")]
    if judged:
        _draw_overview(judged, Path(folder) / "overview")
    for name, each in result["benchmarks"].items():
        if BENCHMARKS[name].draw:
            BENCHMARKS[name].draw(each["rows"], Path(folder) / name)


def _draw_overview(judged, path):
    """Each ratio by its limit, so that right of the line is reached, whichever way the limit goes."""
    figure, axes = new_figure(figsize=(10, 0.4 * len(judged) + 1.2))
    for place, (_, row) in enumerate(reversed(judged)):
        values = [_reached(row, each) for each in (row["value"], *row.get("quartiles", []))]
        axes.plot(values[1:], [place] * len(values[1:]), color="grey")
        axes.plot(values[0], place, "o", color="tab:green" if row["met"] else "tab:red")
    axes.set_yticks(range(len(judged)), [f"{name}: {row['case']}" for name, row in reversed(judged)])
    axes.set(xscale="log", xlabel="measured by what was to be reached (right of 1: met); line: quartiles")
    axes.axvline(1, color="black", linewidth=0.8)
    figure.tight_layout()
    save_figure(figure, path)


def _reached(row, value):
    number = row["limit"]["number"]
    return value / number if row["limit"]["sense"] == "least" else number / value


def find_markers(path, name="benchmarks"):
    """
    What a Markdown file holds before, between and after the comments that enclose a section, three `str` with the
    comments in the first and the last.

    Raises: `OSError`, and `ValueError` where it lacks them.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = Path(path).read_text(encoding="utf-8").partition(begin)
    section, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise ValueError(f"{path} lacks the markers {begin} and {end}")
    return before + begin, section, end + after


def insert_into(path, section, name="benchmarks"):
    """Replaces what is between the two markers of a file; raises as `find_markers`."""
    before, _, after = find_markers(path, name)
    write_whole(path, f"{before}\n\n{section}\n\n{after}")
