"""PyTorch C3 model: Context Cascade Compression (arXiv 2511.15244)."""

import inspect
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.utils import ModelOutput, TransformersKwargs, can_return_tuple, logging

from .attention_masks_c3 import mask_of_chunks, mask_with_padding, mask_without_padding
from .checkpoint_c3 import CheckpointMixin
from .compression_c3 import CompressionMixin
from .configuration_c3 import OWN_FIELDS, C3Config
from .context_modalities_c3 import context_modality
from .context_picture_c3 import tower_config
from .expansion_c3 import ExpansionMixin
from .generation_c3 import PromptingMixin
from .placeholders_c3 import Placeholders
from .processing_c3 import C3Processor
from .stored_weights_c3 import execution_device, table_deviation
from .trained_encoders_c3 import encoder_and_queries, is_c3, pair_fields, take_queries

logger = logging.get_logger(__name__)

# What `forward` passes on to the decoder, beside what it names itself: keywords of every language model there.
DECODER_KEYWORDS = (TransformersKwargs.__optional_keys__ | {"cache_position"}) - {"num_items_in_batch", "position_ids"}

# What transformers' `generate` hands on to any model, though it is for its own loop.
GENERATION_KEYWORDS = ("tokenizer", "assistant_tokenizer")


@dataclass
class C3Output(ModelOutput):
    r"""
    loss (`torch.Tensor` of shape `(1,)`, *optional*): next-token loss over the labels that are not -100.
    logits (`torch.Tensor` of shape `(batch, kept, vocab)`): prediction scores of the decoder.
    past_key_values (`Cache`, *optional*): the decoder's cache.
    hidden_states, attentions (`tuple[torch.Tensor]`, *optional*): the decoder's.
    latents (`torch.Tensor` of shape `(latents, decoder width)`, *optional*): projected latents, in placeholder order.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor] | None = None
    attentions: tuple[torch.Tensor] | None = None
    latents: torch.Tensor | None = None


class C3Projector(nn.Module):
    """Maps what the encoder made of the text, `[latents, context_size]`, to the decoder's width, `[latents, D_dec]`."""

    def __init__(self, config):
        super().__init__()
        d_dec = config.decoder_config.hidden_size
        self.linear_1 = nn.Linear(config.context_size, d_dec)
        self.linear_2 = nn.Linear(d_dec, d_dec) if config.projector == "mlp" else None
        self.is_tanh = config.projector == "tanh"

    def forward(self, hidden_states):
        # Beside a frozen bfloat16 encoder it is trained in float32. The bias tells: a quantized weight is packed, and
        # where torch.ao has packed the bias as well, float32 is what it takes.
        dtype, bias = hidden_states.dtype, self.linear_1.bias
        hidden_states = self.linear_1(hidden_states.to(bias.dtype if hasattr(bias, "dtype") else torch.float32))
        if self.linear_2 is not None:
            hidden_states = self.linear_2(nn.functional.gelu(hidden_states))
        elif self.is_tanh:
            hidden_states = hidden_states.tanh()
        return hidden_states.to(dtype)


class C3PreTrainedModel(PreTrainedModel):
    config_class = C3Config
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True


class C3Model(CheckpointMixin, CompressionMixin, ExpansionMixin, PromptingMixin, C3PreTrainedModel, GenerationMixin):
    """
    Context encoder, projector and decoder in cascade (arXiv 2511.15244, section 3).

        model = C3Model.from_pretrained("org/c3")
        text = model.expand(model.compress("a long text", ratio=8))

    Args:
        config ([`C3Config`]): the configuration.
        encoder (`PreTrainedModel`, *optional*): a backbone without LM head; by default made from its config.
        decoder (`PreTrainedModel`, *optional*): a causal LM; by default made from its config.
    """

    # Applied when config.tie_word_embeddings: the encoder reads with the decoder's embedding table.
    _tied_weights_keys = {"encoder.embed_tokens.weight": "decoder.model.embed_tokens.weight"}

    def __init__(self, config, encoder=None, decoder=None):
        super().__init__(config)
        self._modality  # noqa: B018  raises for one that there is not
        self.encoder = AutoModel.from_config(config.encoder_config) if encoder is None else encoder
        self.decoder = AutoModelForCausalLM.from_config(config.decoder_config) if decoder is None else decoder
        # Embeddings, not bare parameters: ZeRO-3 hooks, default initialisation and PEFT's modules_to_save all apply.
        width = config.encoder_config.hidden_size
        self.context_queries = nn.Embedding(config.num_queries, width) if config.num_queries else None
        self.projector = C3Projector(config)
        self.mask_embedding = nn.Embedding(1, config.decoder_config.hidden_size) if config.use_mask_embedding else None
        self.loss_function = ForCausalLMLoss
        self.post_init()

    @classmethod
    def from_encoder_decoder_pretrained(
        cls, encoder, decoder, *, num_latents=32, encoder_kwargs=None, decoder_kwargs=None, **kwargs
    ):
        """
        Starts a C3 model from two causal LMs, to be trained: the queries and the projector are new.

            model = C3Model.from_encoder_decoder_pretrained("Qwen/Qwen2.5-1.5B", "Qwen/Qwen2.5-3B", num_latents=32)

        Args:
            encoder, decoder (`str`): Hub ids or folders, for example `Qwen/Qwen2.5-1.5B` and `Qwen/Qwen2.5-3B`. Their
                tokenizers, vocabularies and widths may differ. An encoder that is a C3 checkpoint is that checkpoint's
                encoder, with its queries and with the fields of its config that say how it reads. With
                `context_modality="image"` it is a SigLIP, of which the vision tower is taken.
            num_latents (`int`, defaults to 32): latents per window.
            encoder_kwargs, decoder_kwargs (`dict`, *optional*): keywords of `from_pretrained` for one of them.
            **kwargs: fields of [`C3Config`]; `dtype`, `device_map`, `attn_implementation`, `revision`, `token` and the
                like go to both `from_pretrained`.

        Returns:
            [`C3Model`] with its processor, if the folders hold tokenizers.
        """
        fields = {name: kwargs.pop(name) for name in list(kwargs) if name in OWN_FIELDS}
        options = {name: kwargs[name] for name in ("revision", "token", "trust_remote_code") if name in kwargs}
        if fields.get("context_modality") == "image":
            # Of a whole SigLIP the tower alone.
            tower = AutoConfig.from_pretrained(encoder, **options)
            encoder_kwargs = ({} if is_c3(tower) else {"config": tower_config(tower)}) | (encoder_kwargs or {})
        source = AutoModel.from_pretrained(encoder, **(kwargs | (encoder_kwargs or {})))
        encoder_model, queries = encoder_and_queries(source)
        decoder_model = AutoModelForCausalLM.from_pretrained(decoder, **(kwargs | (decoder_kwargs or {})))
        attention = {
            "encoder_config": encoder_model.config._attn_implementation,
            "decoder_config": decoder_model.config._attn_implementation,
        }
        fields["num_latents"] = num_latents
        config = C3Config(**pair_fields(source.config, decoder_model.config, fields))
        # Made beside the loaded parts, which post_init leaves as they are.
        model = cls(config, encoder=encoder_model, decoder=decoder_model)
        # A new composite forgets what its parts attend with.
        model.set_attn_implementation(attention)
        embeddings = encoder_model.get_input_embeddings()
        device, dtype = execution_device(embeddings), encoder_model.dtype
        if queries is not None:
            take_queries(model, queries)
        elif model.context_queries is not None:
            # At the scale of the embeddings that the encoder is used to, where it has a table of them.
            deviation = table_deviation(embeddings)
            if deviation is not None:
                nn.init.normal_(model.context_queries.weight, std=deviation)
        for part in (model.context_queries, model.projector, model.mask_embedding):
            if part is not None:
                part.to(device=device, dtype=dtype)
        model._attach_tokenizers(encoder, decoder, options)
        return model.eval()

    def _attach_tokenizers(self, encoder, decoder, options):
        try:
            self.processor = C3Processor.from_pair(self.config, encoder, decoder, **options)
        except (OSError, ValueError):
            logger.warning(f"{encoder} or {decoder} has no tokenizer: assign model.processor before compressing text.")

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self):
        return self.decoder.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.decoder.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.decoder.get_output_embeddings()

    @property
    def takes_packed_windows(self):
        """Whether `encode_context` takes several windows in a row, see `ContextModality`."""
        return self._modality.takes_packed_windows(self)

    @property
    def _modality(self):
        return context_modality(self.config.context_modality)

    def encode_context(self, *args, **context):
        """
        Runs the context encoder and the projector.

            latents = model.encode_context(**model.processor.context_inputs([ids], [4]))

        Args:
            **context: the windows of a batch, all names beginning with `context_`, as `C3Processor.context_inputs`
                makes them for `config.context_modality`; for text see `TextContext.states`.

        Returns:
            `torch.Tensor` of shape `(latents, D_dec)`: latents of all windows, one window after the other.

        Raises:
            TypeError, ValueError: what this kind of context, or this model, does not take.
        """
        names = self._modality.input_names
        if unknown := [name for name in context if name.startswith("context_") and name not in names]:
            raise TypeError(f"encode_context takes no {', '.join(unknown)}; it takes {', '.join(names)}.")
        return self.projector(self._modality.states(self, *args, **context))

    def embed_prompt(self, input_ids, latents=None, latent_places=None):
        """
        The decoder's input embeddings, with latents and mask embeddings in their placeholders.

            embeds = model.embed_prompt(batch["input_ids"], latents.values)

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with placeholders.
            latents (`torch.Tensor` of shape `(…, D_dec)`, *optional*): one projected latent per placeholder, in order.
            latent_places ([`Placeholders`], *optional*): of these ids, found before.

        Returns:
            `torch.Tensor` of shape `(batch, length, D_dec)`.
        """
        is_latent = input_ids == self.config.latent_token_id
        if latents is None and self.config.latent_token_id < self.config.decoder_config.vocab_size:
            # A placeholder of the vocabulary, as the authors' <imgpad>, is then a token that was generated.
            is_latent = torch.zeros_like(is_latent)
        is_placeholder = is_latent
        if self.mask_embedding is not None:
            is_mask = input_ids == self.config.mask_token_id
            is_placeholder = is_latent | is_mask
        inputs_embeds = self.decoder.get_input_embeddings()(input_ids.masked_fill(is_placeholder, 0))
        if self.mask_embedding is not None:
            mask_embedding = self.mask_embedding(input_ids.new_zeros(1)).to(inputs_embeds)
            inputs_embeds = torch.where(is_mask.unsqueeze(-1), mask_embedding, inputs_embeds)
        if latents is None:
            return inputs_embeds
        if latents.shape[-1] != self.config.hidden_size:
            raise ValueError(
                f"latents are {latents.shape[-1]} wide, but this model's decoder reads {self.config.hidden_size}; "
                "give projected latents of this model (compress makes them)."
            )
        latents = latents.reshape(-1, latents.shape[-1])
        places = int(is_latent.sum()) if latent_places is None else len(latent_places.index)
        if places != latents.shape[0]:
            raise ValueError(f"input_ids hold {places} latent placeholders for {latents.shape[0]} latents.")
        latents = latents.to(inputs_embeds.device, inputs_embeds.dtype)
        if latent_places is not None:
            return latent_places.put(inputs_embeds, latents)
        return inputs_embeds.masked_scatter(is_latent.unsqueeze(-1), latents)

    def check_positions(self, position_ids):
        """Raises `ValueError` where latents lack the positions that, in the uniform layout, the processor makes."""
        if position_ids is None and self.config.latent_position_layout == "uniform":
            raise ValueError(
                "With the uniform layout the decoder needs position_ids for latents; C3Processor returns them."
            )

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        chunk_ids: torch.LongTensor | None = None,
        latents: torch.FloatTensor | None = None,
        latent_places: Placeholders | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> C3Output:
        r"""
        Loss and logits of the decoder, which reads latents in its rows:

            loss = model(**model.processor(["a text", "another"])).loss

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`):
                The decoder's ids, with `config.latent_token_id` wherever a latent goes; several spans are allowed.
            attention_mask (`torch.Tensor` of shape `(batch, length)`, *optional*): 0 at padding.
            position_ids (`torch.Tensor` of shape `(batch, length)`, *optional*):
                May be fractional. Required with the uniform layout when there are latents: [`C3Processor`] makes them.
            chunk_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*):
                Which chunk of text each position is of, where text is hidden from what follows its chunk, see
                `decoder_rows_c3.py`; for whole rows, without a cache.
            latents (`torch.FloatTensor` of shape `(latents, D_dec)` or `(batch, N, D_dec)`, *optional*):
                Projected latents made earlier, instead of a context.
            latent_places ([`Placeholders`], *optional*):
                Of the latents in `input_ids`, from where the batch was made: what they say is not read off the device
                again, nor are labels looked for where there are no logits.
            labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): -100 where nothing is learned.
            logits_to_keep (`int`, defaults to 0, all):
                Computes logits for the last so many positions only; every label must lie there.
            **kwargs: all that begins with `context_` are windows to compress, see `encode_context`, whose latents fill
                the placeholders in order. Then `num_items_in_batch`, by which `Trainer` has the loss divided;
                `output_hidden_states`, `output_attentions` and other keywords that language models of transformers
                share (`TransformersKwargs`), for the decoder; `return_dict`.

        Raises:
            TypeError: another keyword.
            ValueError: inputs that do not fit together; the message says which.
        """
        for name in GENERATION_KEYWORDS:
            kwargs.pop(name, None)
        num_items_in_batch = kwargs.pop("num_items_in_batch", None)
        names = self._modality.input_names
        context = {name: kwargs.pop(name) for name in names if name in kwargs}
        context = {name: value for name, value in context.items() if value is not None}
        if unknown := [name for name in kwargs if name not in DECODER_KEYWORDS]:
            # Swallowed, a misspelt one would be an input that is not there.
            known = [*[*inspect.signature(self.forward).parameters][:-1], *names]
            raise TypeError(f"C3Model.forward takes no {', '.join(unknown)}; it takes {', '.join(known)}.")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if context and latents is not None:
            raise ValueError(f"Give {next(iter(context))} or latents, not both.")
        if inputs_embeds is not None and (context or latents is not None):
            raise ValueError("Latents fill placeholders of input_ids; give input_ids, not inputs_embeds, with them.")
        if context:
            latents = self.encode_context(**context)
        if inputs_embeds is None:
            inputs_embeds = self.embed_prompt(input_ids, latents, latent_places)
        if latents is not None:
            self.check_positions(position_ids)
        if attention_mask is None and position_ids is not None and past_key_values is None:
            # Without a mask transformers takes positions that do not rise by one for packed sequences.
            attention_mask = torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
        if latent_places is not None and past_key_values is None and chunk_ids is None:
            known = mask_with_padding if latent_places.padded else mask_without_padding
            attention_mask = known(self.decoder.config, inputs_embeds, attention_mask)
        if chunk_ids is not None:
            if past_key_values is not None:
                raise ValueError("chunk_ids are for whole rows: leave past_key_values out.")
            sees = self.config.latents_see_chunk
            attention_mask = mask_of_chunks(self.decoder.config, inputs_embeds, attention_mask, chunk_ids, sees)

        # Training never reads the cache, and gradient checkpointing cannot have one.
        if labels is not None and use_cache is None:
            use_cache = False
        outputs = self.decoder(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        loss = None
        if labels is not None:
            kept = outputs.logits.shape[1]
            # A batch that comes with places was laid out with the logits to keep.
            unseen = labels[:, : labels.shape[1] - kept + 1] if kept < labels.shape[1] and latent_places is None else ()
            if len(unseen) and bool((unseen != -100).any()):
                raise ValueError(f"logits_to_keep={kept} leaves out positions that have labels.")
            loss = self.loss_function(
                logits=outputs.logits,
                labels=labels[:, -kept:],
                vocab_size=self.config.decoder_config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        return C3Output(
            loss=loss,
            logits=outputs.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            latents=latents,
        )


C3Model.register_for_auto_class("AutoModel")

__all__ = ["C3Model", "C3Output", "C3PreTrainedModel"]
