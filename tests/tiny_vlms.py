"""Tiny, randomly initialised vision-language models, saved as the Hub has them."""

import json

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    DeepseekOcr2ImageProcessorPil,
    DeepseekOcr2Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    UnlimitedOcrConfig,
    UnlimitedOcrForConditionalGeneration,
)

from tiny_models import tiny_backbone

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
ONE_LAYER = {"num_hidden_layers": 1, "num_attention_heads": 1}
SAM = {"hidden_size": 8, "mlp_dim": 8, "output_channels": 8, "downsample_channels": [8, 16], **ONE_LAYER}
PICTURE_TOKENS = 16  # of tiny LLaVA's pictures, 64 x 64 pixels in patches of 16
CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}\n"
)


def save_llava(folder, tokenizer, chat_template=CHAT_TEMPLATE):
    """The folder of a model of `PICTURE_TOKENS` a picture."""
    torch.manual_seed(0)
    tokenizer = _with_image_token(tokenizer)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, image_size=64, patch_size=16).to_dict(),
        text_config=tiny_backbone("qwen3", len(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=PICTURE_TOKENS,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    options = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(pictures, tokenizer, chat_template=chat_template, **options).save_pretrained(folder)
    return folder


def save_deepseek_ocr2(folder, tokenizer):
    """The folder of one whose pictures are of the sizes of the published one, and so are their vision tokens."""
    torch.manual_seed(0)
    tokenizer = _with_image_token(tokenizer)
    text = tiny_backbone("qwen3", len(tokenizer)).to_dict() | {"model_type": "deepseek_ocr2_text", "head_dim": None}
    config = DeepseekOcr2Config(
        vision_config={
            "sam_config": {**SAM, "global_attn_indexes": []},
            "encoder_config": {**SIZES, **ONE_LAYER, "hidden_size": 16, "num_key_value_heads": 1},
        },
        text_config=text | {"mlp_layer_types": ["dense", "dense"]},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    DeepseekOcr2ForConditionalGeneration(config).save_pretrained(folder)
    DeepseekOcr2Processor(DeepseekOcr2ImageProcessorPil(), tokenizer).save_pretrained(folder)
    return folder


def save_deepseek_ocr(folder, tokenizer):
    """
    A first DeepSeek-OCR as its authors published it, with a config of their names: the model, an Unlimited-OCR whose
    decoder sees more tokens than any text here has, and its tokenizer.
    """
    torch.manual_seed(0)
    tokenizer = _with_image_token(tokenizer)
    experts = {"n_routed_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2}
    text = {**SIZES, **experts, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    text |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    vision = {
        "sam_config": {**SAM, "global_attn_indexes": []},
        "encoder_config": {**SIZES, **ONE_LAYER, "hidden_size": 16},
    }
    image = {"image_token_id": tokenizer.convert_tokens_to_ids("<image>")}
    config = UnlimitedOcrConfig(vision_config=vision, text_config={**text, "sliding_window": 10_000}, **image)
    model = UnlimitedOcrForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    published = {"model_type": "deepseek_vl_v2", "architectures": ["DeepseekOCRForCausalLM"], "vision_config": vision}
    published["auto_map"] = {"AutoConfig": "modeling_deepseekocr.DeepseekOCRConfig"}
    published["language_config"] = {**text, "first_k_dense_replace": 1, "use_mla": False, "lm_head": True}
    (folder / "config.json").write_text(json.dumps(published | image))
    return model, tokenizer


def _with_image_token(tokenizer):
    """A copy of a tokenizer that knows `<image>` too."""
    backend = tokenizer.backend_tokenizer
    copy = PreTrainedTokenizerFast(tokenizer_object=type(backend).from_str(backend.to_str()))
    copy.add_special_tokens({"pad_token": "<pad>", "eos_token": "<eos>", "additional_special_tokens": ["<image>"]})
    return copy
