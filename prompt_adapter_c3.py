"""
Prompts answered with a LoRA adapter (arXiv 2106.09685) of the checkpoint's own, while texts are given back without it:
`config.prompt_adapter` names its folder there. Latents are made and given back by the same weights as before, so that
what is learned for answers costs nothing of that.
"""

import shutil
import warnings
from copy import copy, deepcopy
from itertools import chain
from pathlib import Path

from safetensors import safe_open
from transformers.utils import CONFIG_NAME, cached_file, is_peft_available
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME

from .adapters_c3 import has_adapters, is_trained_in_full, is_wrapper
from .base_models_c3 import NEEDS_PEFT
from .conversations_c3 import are_conversations, is_conversation
from .options_c3 import CompressionWarning
from .processing_c3 import SETTINGS, C3Processor
from .quoting_c3 import in_one_line, printable_lines, quoted
from .stored_weights_c3 import is_sharded

OTHER_WEIGHTS = (
    "The adapter {} was trained for other weights than this model has, so that its answers may be wrong: attach one "
    "that was trained for these (c3 attach-adapter), or set config.prompt_adapter to None."
)
TRAINED_ON = "weights_fingerprint"  # of the model, among the metadata of the adapter's weights
FILES = (CONFIG_NAME, ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME)
# What is about the text itself, and made without the adapter; whose latents it reads is found sooner so, too.
WITHOUT_ADAPTER = ("compress", "plan_windows", "expand", "expand_windows", "latent_provenance")
# How prompts are laid out: fields of the adapter's config, of which all others are the model's.
LAYOUT = ("prompt_template", "prompt_positions", "latents_see_chunk", "reconstruction_only")
# What others may have set on a model: accelerate, torch.compile, transformers' compiled decoding.
OF_ITS_FORWARD = ("forward", "_old_forward", "_hf_hook", "_compiled_call", "_last_compile_config")


class PromptAdapterMixin:
    """
    Part of [`PromptingMixin`]. It needs of the model what `PreTrainedModel` has, `processor` and `_source_options` of
    [`CheckpointMixin`], which saves the adapter by this, and what `WITHOUT_ADAPTER` names.
    """

    _answering = None, None  # the model with the adapter, and what it was made of
    answers_for_another = False

    def answering(self):
        """
        The model that answers prompts: this one, or, where its config names a `prompt_adapter`, another [`C3Model`]
        that has it attached. That shares all weights with this one, which stays as it is, and compresses and expands as
        this one does. `generate` and `chat` ask it by themselves; it is for those who lay out the decoder's rows.

            row = model.answering().processor.row(latents.spans[0], "What is it about?")

        Raises:
            ImportError: PEFT is not installed.
            OSError: the adapter cannot be loaded.
            ValueError: weights to which no adapter can be attached: offloaded, in shards, or quantized in a way that
                PEFT does not know.
        """
        if self.config.prompt_adapter is None or has_adapters(self):
            return self
        # Moved, cast, quantized or with another processor, it needs another one.
        made_of = [(id(each), each.device, each.dtype) for each in chain(self.parameters(), self.buffers())]
        made_of += [self.config.prompt_adapter, self.processor, self.generation_config]
        answering, known = self._answering
        if known != made_of:
            answering = self._with_adapter()
            self._answering = answering, made_of
        return answering

    def _who_answers(self, context, prompt):
        """`answering()` for a prompt, or for messages that hold the context; this model where the text is asked for."""
        messages = prompt if context is None else context
        if is_conversation(messages) or are_conversations(messages):
            return self.answering()
        asked = prompt if isinstance(prompt, (list, tuple)) else [prompt]
        is_text = all(each is None or each == self.config.reconstruction_prompt for each in asked)
        return self if is_text else self.answering()

    def _with_adapter(self):
        source, options = self.name_or_path, self._prompt_adapter_options()
        if not is_peft_available():
            raise ImportError(NEEDS_PEFT.format(source))
        if is_sharded(self) or any(each.is_meta for each in self.parameters()):
            where = "in shards" if is_sharded(self) else "offloaded: load the model without offload_folder and the like"
            raise ValueError(f"Prompts are answered with an adapter, and none can be attached to weights {where}.")
        files = self.prompt_adapter_files()  # transformers would take what lies above for a config that is missing
        with safe_open(files[ADAPTER_SAFE_WEIGHTS_NAME], "pt") as file:
            trained_on = (file.metadata() or {}).get(TRAINED_ON)
        if trained_on not in (None, self.latent_provenance().weights_fingerprint):
            warnings.warn(OTHER_WEIGHTS.format(self.config.prompt_adapter), CompressionWarning, stacklevel=6)
        stored = type(self.config).from_pretrained(source, **options)
        answering = copy(self)
        for name in OF_ITS_FORWARD:  # of the model itself, whose decoder they would call
            vars(answering).pop(name, None)
        answering._modules, answering._answering = dict(self._modules), (None, None)
        # The decoder's layers anew, for the adapter to be put into, around the same weights and configs.
        configs = (each.config for each in self.modules() if hasattr(each, "config"))
        kept = chain(self.parameters(), self.buffers(), configs)
        answering.decoder = deepcopy(self.decoder, {id(each): each for each in kept})
        answering.config, answering._base_config = copy(self.config), self.config
        answering.answers_for_another = True
        for name in LAYOUT:
            setattr(answering.config, name, getattr(stored, name))
        answering.config.prompt_adapter = None
        tokenizers = self.processor.tokenizer, self.processor.context_tokenizer
        answering._processor = None
        answering.processor = C3Processor(*tokenizers, **{name: getattr(answering.config, name) for name in SETTINGS})
        self._attach(answering, source, options)
        for name in WITHOUT_ADAPTER:
            setattr(answering, name, getattr(self, name))
        if hasattr(self, "_hf_hook"):
            try:
                from accelerate.hooks import add_hook_to_module
            except ImportError as error:  # whose hook it is
                raise ValueError("Without accelerate no adapter can be attached to a model with its hooks.") from error
            add_hook_to_module(answering, self._hf_hook)
        return answering

    def _attach(self, answering, source, options):
        """Puts the adapter into the layers of `answering`; PEFT freezes all others, and ends their training."""
        trained = [each for each in self.parameters() if each.requires_grad]
        modes = [(each, each.training) for each in self.modules()]
        try:
            report = answering.load_adapter(source, adapter_kwargs=options, dtype=self.dtype)
        except (RuntimeError, ValueError) as error:  # of layers of a kind, or a shape, that it is not for
            raise ValueError(f"The adapter that answers prompts cannot be attached: {in_one_line(error)}") from error
        finally:
            for each in trained:
                each.requires_grad_(True)
            for each, mode in modes:
                each.training = mode
        odd = sorted(chain(report.missing_keys, report.unexpected_keys))
        if odd:
            raise ValueError(
                f"The adapter that answers prompts is not for this model: {quoted(odd[0])} is in one of them only."
            )

    def _prompt_adapter_options(self):
        """Keywords of `from_pretrained` for the adapter's folder."""
        options = dict(self._source_options)
        above = options.pop("subfolder", "")
        revision = getattr(self.config, "_commit_hash", None)  # of the weights, where they came from the Hub
        options |= {"revision": revision} if revision else {}
        return options | {"subfolder": "/".join(filter(None, (above, self.config.prompt_adapter)))}

    def prompt_adapter_files(self):
        """`dict[str, str]`: the adapter's files, and where they are; none of a model without one. Raises `OSError`."""
        if self.config.prompt_adapter is None or has_adapters(self):
            return {}
        source, options = self.name_or_path, self._prompt_adapter_options()
        try:
            return {name: cached_file(source, name, **options) for name in FILES}
        except OSError as error:
            said = f"{source} answers prompts with the adapter {self.config.prompt_adapter}, which cannot be loaded"
            raise OSError(f"{said}: {printable_lines(error)}") from error

    def save_prompt_adapter(self, folder):
        """Puts the adapter into a checkpoint's folder: `model.save_prompt_adapter("my-c3")`, which saving does."""
        for name, file in self.prompt_adapter_files().items():
            target = Path(folder, self.config.prompt_adapter, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (target.exists() and target.samefile(file)):
                shutil.copyfile(file, target)


def decoder_that_answers(model):
    """
    The decoder of `answering()` for programs that know no adapter of a C3 checkpoint: this is merged into weights of
    its own, the others are the model's. Where there is no adapter it is the model's decoder.

        decoder_that_answers(model).save_pretrained("decoder")
    """
    decoder = model.answering().decoder
    if model.config.prompt_adapter is None:
        return decoder
    changed = {id(each) for layer in decoder.modules() if is_wrapper(layer) for each in layer.parameters()}
    decoder = deepcopy(decoder, {id(each): each for each in decoder.parameters() if id(each) not in changed})
    for name, layer in [*decoder.named_modules()]:
        if is_trained_in_full(layer):
            decoder.set_submodule(name, layer.modules_to_save[layer.active_adapters[0]])
        elif is_wrapper(layer):
            layer.merge(safe_merge=True)
            decoder.set_submodule(name, layer.get_base_layer())
    return decoder


__all__ = ["PromptAdapterMixin", "decoder_that_answers"]
