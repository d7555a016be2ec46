"""A page to look at C3: a text becomes latents and comes back, with what was lost marked. Run: make space"""

import os
import warnings
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

import gradio as gr  # noqa: E402

from c3 import DEFAULT_CHECKPOINT, C3Model, CompressionWarning  # noqa: E402
from compressed_page import LONGEST_TEXT, compress_page  # noqa: E402

MODEL = os.environ.get("C3_MODEL", DEFAULT_CHECKPOINT)
# Gradio breaks what is marked in the middle of words.
STYLE = "#marked .textfield, #marked .textspan { word-break: normal !important; overflow-wrap: break-word; }"
EXAMPLE = Path(DEFAULT_CHECKPOINT) / "examples" / "jefferson_1805.txt"
QUESTION = """Is this sentence in the text, yes or no?
We have done them justice on all occasions, favored where favor was lawful, and cherished mutual interests and \
intercourse on fair and equal terms."""
COLOURS = {"lost": "#e5484d", "added": "#2b9a66", "unsure": "#f5a623"}
ABOUT = """# C3: a text in a few latent vectors, and back
A small model reads the text and leaves latents; another one gives the text back from them alone. What differs is
marked: **lost** stood in the text, **added** came back instead, **unsure** is what the decoder itself doubts. Nothing
leaves the machine that runs this page."""


def make_page(model):
    """The page, `gr.Blocks`, of a [`C3Model`]."""
    example = EXAMPLE.read_text(encoding="utf-8")[:3000] if EXAMPLE.is_file() else ""
    low, high = model.config.ratio_range or (1, 32)

    def compress(text, ratio):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", CompressionWarning)
            try:
                page = compress_page(model, text or "", ratio)
            except ValueError as error:
                raise gr.Error(str(error)) from error
        for warning in caught:
            if issubclass(warning.category, CompressionWarning):
                gr.Warning(str(warning.message))
        return page.marked, page.facts, page.windows, page.latents

    def ask(latents, question):
        if latents is None:
            raise gr.Error("Compress a text first.")
        if not (question or "").strip():
            raise gr.Error("Write a question first.")
        return model.generate(latents, question, max_new_tokens=64, do_sample=False)

    def read(file):
        try:
            return Path(file).read_text(encoding="utf-8")[: LONGEST_TEXT + 1]
        except UnicodeDecodeError as error:
            raise gr.Error("This file is not UTF-8 text.") from error

    with gr.Blocks(title="C3", analytics_enabled=False) as page:
        gr.Markdown(ABOUT)
        latents = gr.State()
        with gr.Row():
            with gr.Column():
                text = gr.Textbox(example, label="Text", lines=14, max_lines=14)
                upload = gr.UploadButton("Upload a text", file_types=["text"])
                ratio = gr.Slider(low, high, value=min(8, high), step=1, label="Tokens per latent", elem_id="ratio")
                button = gr.Button("Compress and read back", variant="primary")
                heads = ["", "latents", "the text"]
                facts = gr.Dataframe(headers=heads, label="Measured", elem_id="facts", interactive=False)
                windows = gr.Dataframe(
                    headers=["window", "fidelity, %", "comes back"], label="Window by window", interactive=False
                )
            with gr.Column():
                marked = gr.HighlightedText(
                    label="What came back", color_map=COLOURS, show_legend=True, elem_id="marked"
                )
                with gr.Row():
                    question = gr.Textbox(
                        label="Ask about the latents",
                        placeholder=QUESTION,
                        lines=2,
                        scale=4,
                        interactive=not model.only_repeats(),
                    )
                    asking = gr.Button("Ask", interactive=not model.only_repeats())
                answer = gr.Textbox(
                    "This checkpoint only gives texts back: set C3_MODEL to one that was trained on questions."
                    if model.only_repeats()
                    else "",
                    label="Answer",
                )
        upload.upload(read, upload, text)
        button.click(compress, [text, ratio], [marked, facts, windows, latents])
        asking.click(ask, [latents, question], answer)
    return page


if __name__ == "__main__":
    make_page(C3Model.from_pretrained(MODEL).eval()).launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), show_error=True, css=STYLE
    )
