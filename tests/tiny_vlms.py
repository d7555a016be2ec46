"""Tiny, randomly initialised vision-language models, saved as the Hub has them."""

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
)

from tiny_models import tiny_backbone

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}\n"
)


def _with_image_token(tokenizer):
    """A copy of a tokenizer that knows `<image>` too."""
    copy = PreTrainedTokenizerFast(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    )
    copy.add_special_tokens({"pad_token": "<pad>", "eos_token": "<eos>", "additional_special_tokens": ["<image>"]})
    return copy


def save_llava(folder, tokenizer, chat_template=CHAT_TEMPLATE):
    """Pictures of 64 x 64 pixels in 16 vision tokens; the folder."""
    torch.manual_seed(0)
    tokenizer = _with_image_token(tokenizer)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES, image_size=64, patch_size=16).to_dict(),
        text_config=tiny_backbone("qwen3", len(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessorPil(size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64})
    options = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(pictures, tokenizer, chat_template=chat_template, **options).save_pretrained(folder)
    return folder


def save_deepseek_ocr2(folder, tokenizer):
    """144 vision tokens at 768 pixels and 256 at 1024, as the published one; the folder."""
    torch.manual_seed(0)
    tokenizer = _with_image_token(tokenizer)
    heads = {"num_hidden_layers": 1, "num_attention_heads": 1}
    sam = {"hidden_size": 8, "mlp_dim": 8, "output_channels": 8, "downsample_channels": [8, 16], **heads}
    text = tiny_backbone("qwen3", len(tokenizer)).to_dict() | {"model_type": "deepseek_ocr2_text", "head_dim": None}
    config = DeepseekOcr2Config(
        vision_config={
            "sam_config": {**sam, "global_attn_indexes": []},
            "encoder_config": {**SIZES, **heads, "hidden_size": 16, "num_key_value_heads": 1},
        },
        text_config=text | {"mlp_layer_types": ["dense", "dense"]},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    DeepseekOcr2ForConditionalGeneration(config).save_pretrained(folder)
    DeepseekOcr2Processor(DeepseekOcr2ImageProcessorPil(), tokenizer).save_pretrained(folder)
    return folder
