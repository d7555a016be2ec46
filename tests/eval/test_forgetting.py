"""The suite forgetting with a tiny model. Run: pytest tests/eval/test_forgetting.py"""

import pytest

from eval_files import load, main


def test_forgetting(arguments, tmp_path, capsys):
    options = ["--ratios", "2", "4", "--lengths", "1", "4", "--samples", "2", "--window", "16"]
    main(["forgetting", *arguments, *options, "--output", str(tmp_path)])
    rows = load(tmp_path / "forgetting.json")["examples"]
    assert [(row["setting"], row["group"]) for row in rows[::2]] == [
        ("2x", "en, 1 window"),
        ("4x", "en, 1 window"),
        ("2x", "en, 4 windows"),
        ("4x", "en, 4 windows"),
    ]
    for row in rows:
        assert row["min_windows"] == int(row["group"].split()[1])
        assert len(row["accuracy_by_position"]) == 20
    out = capsys.readouterr().out
    assert "| c3 | en, 4 windows | 2x | 2 |" in out
    assert (tmp_path / "forgetting.png").is_file() and (tmp_path / "forgetting.svg").is_file()
    with pytest.raises((OSError, ValueError), match="the pages hold no text of 900 windows"):
        main(["forgetting", *arguments, "--lengths", "900"])


def test_forgetting_sees_where_truncation_ends(arguments, tmp_path):
    options = ["--methods", "truncation", "--ratios", "2", "--lengths", "8", "--samples", "1", "--window", "8"]
    main(["forgetting", *arguments, *options, "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    accuracy = row["accuracy_by_position"]
    assert accuracy[:8] == [1] * 8 and accuracy[-7:] == [0] * 7
