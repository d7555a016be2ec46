"""Vision-language models of the Hub or a folder, through transformers' image-text-to-text classes."""

import re
from functools import partial

from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from c3.fingerprints_c3 import fingerprint_tensors
from c3.quoting_c3 import quoted
from c3.support.errors import UserError, is_out_of_memory, one_line
from c3.support.loading import find_device, find_source
from c3.support.without_secrets import without_secrets

KIND = "a vision-language model"
# What models that think aloud, as Glyph, write before an answer and around it.
_THOUGHT, _FRAME = (
    re.compile(r"^(?:<think>)?.*?</think>", re.DOTALL),
    re.compile(r"^<answer>(.*?)(?:</answer>)?$", re.DOTALL),
)
# Greedy, whatever a checkpoint's own generation config says: a transcript repeats what the text repeats.
GREEDY = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0}


class VisionLanguageModel:
    """
    A vision-language model that answers in text.

        model = load_vision_language_model("zai-org/Glyph", "cuda", "bfloat16")
        inputs = model.chat_inputs(pages, "Transcribe the text in the images.")
        print(model.num_vision_tokens(inputs), model.answer(inputs, 2000))

    Args:
        model (`PreTrainedModel`): of `AutoModelForImageTextToText`.
        processor (`ProcessorMixin`): of `AutoProcessor`.
        name (`str`): the folder or Hub id of both.
    """

    def __init__(self, model, processor, name):
        self.model, self.processor, self.name = model, processor, name
        self.tokenizer = processor.tokenizer

    @property
    def model_type(self):
        return self.model.config.model_type

    @property
    def hidden_size(self):
        """Numbers of a vision token, as of any other that the language model reads (`int`)."""
        return self.model.config.get_text_config().hidden_size

    @property
    def image_token_id(self):
        """The id (`int`) that stands in the input for each vision token; None where nobody says it."""
        for each in (self.model.config, self.processor):
            for name in ("image_token_id", "image_token_index"):
                if getattr(each, name, None) is not None:
                    return getattr(each, name)
        return None

    def chat_inputs(self, pictures, prompt):
        """What the chat template makes of a user's turn that shows pictures and then asks: `BatchFeature`, one row."""
        content = [*({"type": "image", "image": each} for each in pictures), {"type": "text", "text": prompt}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )

    def plain_inputs(self, pictures, prompt, **options):
        """
        What the processor makes of the token that begins a text, pictures, a line break and a prompt, without a chat;
        `options` are its own.
        """
        first = self.tokenizer.bos_token or ""
        if self.tokenizer("")["input_ids"]:
            first = ""  # the tokenizer puts it there itself
        text = f"{first}{self.processor.image_token * len(pictures)}\n{prompt}"
        return self.processor(images=pictures, text=text, return_tensors="pt", **options)

    def num_vision_tokens(self, inputs):
        """Vision tokens (`int`) of an input: its placeholders of pictures."""
        return int((inputs["input_ids"] == self.image_token_id).sum())

    def answer(self, inputs, max_new_tokens):
        """What is said to an input of one row, greedily, in so many tokens at most, without thoughts (`str`)."""
        inputs = inputs.to(self.model.device, dtype=self.model.dtype)
        ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **GREEDY)
        (answer,) = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return without_thoughts(answer)

    def description(self):
        """What a result file says of the model, `dict`; of a folder the name only, and no revision."""
        return {
            "model_name": without_secrets(self.name),
            "revision": getattr(self.model.config, "_commit_hash", None),
            "model_type": self.model_type,
            "weights_fingerprint": fingerprint_tensors(self.model.state_dict()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }


def without_thoughts(answer):
    """
    An answer without what was thought before it, and without white space around it.

        without_thoughts("<think>Easy.</think><answer>Yes</answer>")  # "Yes"
    """
    return _FRAME.sub(r"\1", _THOUGHT.sub("", answer.strip()).strip()).strip()


def load_vision_language_model(name, device, dtype, others=None):
    """
    The [`VisionLanguageModel`] in a folder or under a Hub id; its own code is never run.

    Args:
        device, dtype (`str`): it runs on and in.
        others (`dict`, *optional*): how what transformers does not know by its name is loaded, by the architecture that
            its config names: `(name, config, source) -> (processor, from_pretrained)`, as `find_source` has the source.

    Raises:
        UserError: saying in one line that there is none, or why it cannot be loaded.
    """
    device, source = find_device(device), find_source(name, KIND)
    try:
        config = PreTrainedConfig.get_config_dict(name, **source)[0]
        processor, load = (others or {}).get(_architecture(config), _by_model_type)(name, config, source)
        model, report = load(name, dtype=dtype, output_loading_info=True, **source)
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"its weights lack {len(missing)} tensor(s), first {quoted(missing[0])}")
        return VisionLanguageModel(model.to(device).eval(), processor, name)
    except Exception as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory for the model {name}: --dtype bfloat16 needs half of float32's") from error
        raise UserError(f"cannot load {KIND} from {name}: {one_line(error)}") from error


def _architecture(config):
    return (config.get("architectures") or [None])[0]


def _by_model_type(name, config, source):
    kind = config.get("model_type")
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ValueError(f"it is a {quoted(kind)} model, which transformers has no image-text-to-text class for")
    options = {"trust_remote_code": False}
    processor = AutoProcessor.from_pretrained(name, **options, **source)
    return processor, partial(AutoModelForImageTextToText.from_pretrained, **options)
