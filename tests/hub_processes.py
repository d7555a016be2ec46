"""Other processes that push to the stand-in for the Hub and load from there, and what they should find."""

import json
import os
from pathlib import Path

from c3.training.publish import push as publish_module
from fresh_processes import RUN_C3, run_fresh
from tiny_models import TEXTS

PACKAGE = Path(publish_module.__file__).parents[2]
# Loads each `repository[@revision]` of its arguments as remote code, the first of them by the example of its card.
LOAD = """
import json, re, sys
from huggingface_hub import hf_hub_download
from transformers import AutoModel, AutoProcessor

text, push_as, *sources = sys.argv[1:]
found = {}
for source in sources:
    name, _, revision = source.partition("@")
    options = {"trust_remote_code": True, "revision": revision or "main"}
    model = AutoModel.from_pretrained(name, **options)
    processor = AutoProcessor.from_pretrained(name, **options)
    if source == sources[0] and push_as:
        # Before the processor was needed for anything.
        model.push_to_hub(push_as)
    assert "c3" not in sys.modules
    for part in (model, processor):
        assert type(part).__module__.startswith("transformers_modules"), type(part)
    latents = model.compress(text)
    second = processor.context_tokenizer
    found[source] = {
        "latents": latents.values.tolist(),
        "text": model.expand(latents),
        "ids": processor.encode(text),
        "context_ids": None if second is None else second(text)["input_ids"],
    }
card = open(hf_hub_download(sources[0], "README.md"), encoding="utf-8").read()
examples = re.findall(r"```python\\n(.*?)```", card, re.DOTALL)
for example in examples:
    exec(example)
found["examples"] = len(examples)
json.dump(found, open("found.json", "w"))
"""


def environment(hub, home, token="good"):
    """Variables of another process that talks to the stand-in."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    return variables | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": token,
    }


def load_elsewhere(hub, folder, *sources, push_as=""):
    """What a fresh process without c3 makes of models on the stand-in, by source."""
    folder.mkdir()
    variables = environment(hub, folder / "home")
    result = run_fresh(LOAD, TEXTS[0], push_as, *sources, variables=variables, folder=folder)
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "found.json").read_text())


def push_by_hand(hub, folder, *arguments, token="good"):
    """`c3 publish`, where `c3` is this checkout."""
    (folder / "path").mkdir(exist_ok=True)
    if not (folder / "path" / "c3").exists():
        (folder / "path" / "c3").symlink_to(PACKAGE)
    variables = environment(hub, folder / "home", token) | {"PYTHONPATH": str(folder / "path")}
    return run_fresh(RUN_C3, "publish", *arguments, variables=variables, folder=folder)


def expected(model):
    """What `load_elsewhere` should find of a model."""
    latents = model.compress(TEXTS[0])
    second = model.processor.context_tokenizer
    return {
        "latents": latents.values.tolist(),
        "text": model.expand(latents),
        "ids": model.processor.encode(TEXTS[0]),
        "context_ids": None if second is None else second(TEXTS[0])["input_ids"],
    }
