"""Ways of keeping a text, each with a tiny model. Run: pytest tests/eval/test_baselines.py"""

import pytest

from c3.cli.main import main as c3_main
from c3.eval.baselines import METHODS, optimised_latents
from c3.eval.harness import Options
from eval_files import PAGES, load, main
from image_models import model_of


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method, arguments, tmp_path):
    options = ["--methods", method, "--ratios", "4", "--lengths", "2", "--samples", "1", "--window", "16"]
    main(["forgetting", *arguments, *options, "--steps", "3", "--output", str(tmp_path)])
    (row,) = load(tmp_path / "forgetting.json")["examples"]
    assert row["method"] == method and row["kept_bytes"] > 0
    if method in ("zlib", "xz"):
        assert row["scores"]["exact_match"] == 1 and row["latents"] is None and row["counted_ratio"] is None
    else:
        assert row["latents"] == row["own_tokens"] // 4
    if method == "truncation":
        assert PAGES[0].startswith(row["output"]) and row["kept_bytes"] == len(row["output"])


def test_mean_pooling_of_pictures_is_refused(arguments, tokenizer, tmp_path, capsys):
    """In one line, before what else is asked for is measured."""
    model_of(tokenizer).save_pretrained(tmp_path / "image")
    wrong = arguments.index("--model") + 1
    arguments[wrong] = str(tmp_path / "image")
    for argv in (["pages", "--methods", "c3", "mean-pooling"], ["ask", "--baselines", "mean-pooling"]):
        assert c3_main(["eval", *argv, *arguments, "--output", str(tmp_path / "results")]) == 2
        message = "mean-pooling takes means over tokens of text, and this model's context is image: name other"
        assert message in capsys.readouterr().err
        assert not list((tmp_path / "results").iterdir())


def test_optimised_latents_follow_the_loss(make_model):
    """The teacher-forced loss falls, and the decoder stays as it was."""
    model = make_model()
    text = PAGES[0]
    before = {name: p.clone() for name, p in model.named_parameters()}
    latents = model.compress(text, ratio=4)
    better = optimised_latents._optimised(model, text, latents, Options(window=32, batch_size=16, steps=30))

    def loss(values):
        ids, rows = model.processor.encode(text), []
        for span in values.spans[0]:
            rows.append(model.processor.row([span], target=ids[: span.num_tokens]))
            ids = ids[span.num_tokens :]
        batch = model.processor.decoder_inputs(rows)
        return float(model(**batch, latents=values.values).loss.detach())

    assert loss(better) < 0.9 * loss(latents)
    assert all((p == before[name]).all() and p.requires_grad and p.grad is None for name, p in model.named_parameters())
