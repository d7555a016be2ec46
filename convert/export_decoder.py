"""The decoder alone, as a plain causal language model: latents are then embeddings of its prompt."""

from c3.adapters_c3 import has_adapters
from c3.prompt_adapter_c3 import decoder_that_answers
from c3.support.loading import load_model

from .checkpoint_folder import new_folder, summary, whole_checkpoint


def export_decoder(source, output, dtype="stored"):
    """
    Writes the decoder of a C3 model with its tokenizer as a plain checkpoint of transformers. Of a row such as
    `generate` makes (latents, then the prompt, at positions 0, 1, 2, …) it computes what the decoder in the model does.
    Tried with transformers and vLLM; not with other engines. llama.cpp's converter, for one, takes only tokenizers that
    it knows, and the default checkpoint has one of its own.

        export_decoder("org/c3", "c3-decoder")
        AutoModelForCausalLM.from_pretrained("c3-decoder").generate(inputs_embeds=…)

    Args:
        source (`str`): folder or Hub id of a C3 model.
        output (`str`): folder to make; only an empty one may be there.
        dtype (`str`): what the weights are converted to, such as `bfloat16`; `stored` leaves them as they are.

    Returns: `list[str]`, what was written, and what to heed.

    Raises:
        ValueError: the folder is taken, too little disk, or an adapter.
        UserError: no C3 model there.
    """
    output = new_folder(output)
    model = load_model(source, "cpu", dtype)
    if has_adapters(model):
        raise ValueError(f"{source} is an adapter: merge it first (c3 merge-lora), and export what that gives.")
    written = [write_decoder(model, output)]
    if (positions := model.answering().config.prompt_positions) != "consecutive":
        written.append(
            f"Prompts of this model stand at {positions} positions, but engines number theirs "
            "0, 1, 2, …: what they answer differs from generate."
        )
    if model.only_repeats():
        written.append("This decoder only gives texts back: it answers no prompts.")
    return written


def write_decoder(model, output):
    """
    As `export_decoder`, of a model that is loaded.

    Args:
        model ([`C3Model`]): without adapters but its `prompt_adapter`, which is merged into what is written.
        output (`Path`): folder to make, in one that exists.

    Returns: `str`, what was written.
    """
    decoder = decoder_that_answers(model)
    tensors = dict(decoder.named_parameters())
    ends = {name: getattr(model.generation_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    decoder.generation_config.update(**ends)
    with whole_checkpoint(output, tensors) as (folder, advance):
        decoder.save_pretrained(folder)
        model.processor.tokenizer.save_pretrained(folder)
        advance(sum(tensor.nbytes for tensor in tensors.values()))
    return summary(output, tensors)
