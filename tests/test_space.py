"""The page to look at: what it computes, and what a browser shows of it. Run: pytest tests/test_space.py [-m slow]"""

import configparser
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard

from c3 import DEFAULT_CHECKPOINT, C3Config, C3Model
from compressed_page import LONGEST_TEXT, compress_page
from tiny_models import LONG

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "jefferson_1805.txt"
MODEL = os.environ.get("C3_MODEL", DEFAULT_CHECKPOINT)  # as the page has it
HAS_WEIGHTS = (ROOT / "model.safetensors").is_file()


def test_what_differs_is_marked(uniform):
    """By a model that was not trained: it gives another text back."""
    page = compress_page(uniform, LONG, 4)
    labels = {label for _, label in page.marked}
    assert {"lost"} <= labels <= {None, "lost", "added", "unsure"}
    # What is not lost is what came back.
    assert "".join(piece for piece, label in page.marked if label != "lost") == page.came_back != LONG
    assert "no" in {comes_back for _, _, comes_back in page.windows}
    assert [place for place, _, _ in page.windows] == list(range(page.latents.num_windows))
    assert page.facts[0] == ("positions in a prompt", f"{page.latents.num_latents}", f"{page.latents.text_tokens}")
    facts = {name: numbers for name, *numbers in page.facts}
    for name in ("cache, MB", "seconds to read in a prompt"):
        assert all(float(number) >= 0 for number in facts[name]) and len(facts[name]) == 2


@pytest.mark.skipif(not HAS_WEIGHTS, reason="the checkout has no weights")
def test_a_text_that_comes_back_has_no_marks():
    text = "It was the best of times, it was the worst of times. " * 3
    page = compress_page(C3Model.from_pretrained(DEFAULT_CHECKPOINT).eval(), text, 4)
    assert {label for _, label in page.marked} <= {None, "unsure"} and page.came_back == text
    assert [comes_back for _, _, comes_back in page.windows] == ["yes"] * page.latents.num_windows
    assert {name: latents for name, latents, _ in page.facts}["precision of what came back"] == "100.00%"


def test_what_is_refused(uniform):
    for text, message in (("  \n", "Paste a text first"), ("a" * (LONGEST_TEXT + 1), "takes 20000 characters")):
        with pytest.raises(ValueError, match=message):
            compress_page(uniform, text, 4)


def test_the_page_is_built(uniform):
    pytest.importorskip("gradio")
    from app import make_page

    labels = [each["props"].get("label") for each in make_page(uniform).get_config_file()["components"]]
    assert {"Text", "Tokens per latent", "What came back", "Answer"} <= set(labels)


def test_what_a_space_of_the_hub_installs():
    """What the package needs, which no index has and which is uploaded beside the app; gradio as it is tested."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = setup["options"]["install_requires"].split()
    assert (ROOT / "space" / "requirements.txt").read_text(encoding="utf-8").split() == needed
    card = SpaceCard.load(ROOT / "space" / "README.md")
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"gradio=={card.data.sdk_version}" in constraints
    assert setup["options"]["python_requires"] == f">={card.data.python_version}"
    assert (ROOT / "space" / card.data.app_file).is_file() and "pip install --no-deps --target upload ." in card.text


@pytest.mark.slow
@pytest.mark.skipif(not HAS_WEIGHTS, reason="the checkout has no weights")
def test_in_a_browser(tmp_path):
    """
    A real one, headless: the example text is compressed, what came back stands on the page, and a question is answered
    where the model answers any. With the environment variable C3_SCREENSHOT all of the page becomes a picture there.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("gradio")
    from app import QUESTION

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium")
    environment = os.environ | {"GRADIO_SERVER_PORT": "7861", "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen([sys.executable, ROOT / "space" / "app.py"], cwd=tmp_path, env=environment)
    try:
        wait_for("http://127.0.0.1:7861", server)
        with playwright.sync_playwright() as tools:
            quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
            browser = tools.chromium.launch(executable_path=chromium, args=quiet)
            page, asked = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=0.75), []
            page.on("request", lambda request: asked.append(request.url))
            page.goto("http://127.0.0.1:7861")
            page.get_by_role("button", name="Compress and read back").click()
            page.get_by_text("precision of what came back").wait_for(timeout=120_000)
            beginning = " ".join(EXAMPLE.read_text(encoding="utf-8").split()[:6])
            assert beginning in re.sub(r"\s+", " ", page.locator("#marked").inner_text())
            question, answer = page.get_by_label("Ask about the latents"), page.get_by_label("Answer")
            config = C3Config.from_pretrained(MODEL)
            assert question.is_enabled() == (not config.reconstruction_only or config.prompt_adapter is not None)
            if question.is_enabled():
                question.fill(QUESTION)
                page.get_by_role("button", name="Ask", exact=True).click()
                playwright.expect(answer).not_to_have_value("", timeout=120_000)
            else:
                playwright.expect(answer).to_have_value(re.compile("only gives texts back"))
            take_picture(page, tmp_path / "page.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    # Nothing is asked of anybody else.
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:7861", "data:", "blob:"))] == []


def take_picture(page, path):
    """All of a page, at `path` or where C3_SCREENSHOT says; the parts that it is to show are seen."""
    facts = ("positions in a prompt", "cache, MB", "seconds to read in a prompt")
    for part in (*facts, "Window by window", "What came back", "Ask about the latents", "Answer"):
        # Gradio has the widest cell of a table twice, once hidden.
        assert page.get_by_text(part, exact=True).locator("visible=true").count() == 1, part
    page.add_style_tag(content="footer { display: none !important; }")
    page.screenshot(path=os.environ.get("C3_SCREENSHOT", path), full_page=True)


def wait_for(address, server, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the page's process has ended"
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the page did not come")
