"""An estimate of the memory that training takes on each device."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on each device: weights, gradients, optimizer states (with 32-bit copies of weights), activations."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self):
        """Their sum, in bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate_states(
    parameters,
    trainable,
    *,
    bytes_per_weight=4,
    bytes_per_trained_weight=None,
    zero_stage=0,
    num_devices=1,
    offload_optimizer=False,
    offload_weights=False,
):
    """
    Bytes of weights, gradients and Adam's states on each device, as ZeRO counts them (arXiv 1910.02054, section 3): 16
    bytes for each trainable parameter with DeepSpeed in 16 bit, shared among the devices from stage 1 (optimizer), 2
    (gradients) and 3 (weights) on.

    Args:
        parameters, trainable (`int`): of the whole model.
        bytes_per_weight (`int`): 4 for float32 weights (also under `training.bf16` without DeepSpeed, which computes in
            16 bit over them), 2 for 16-bit ones; with DeepSpeed in 16 bit a 32-bit copy is kept by the optimizer.
        bytes_per_trained_weight (`int`, *optional*): where those that are trained are others, as with LoRA.
        zero_stage (`int`): 0 for none.
        num_devices (`int`): all that train together.
        offload_optimizer, offload_weights (`bool`): to the host's memory.

    Returns: `tuple[int, int, int]`.
    """
    bytes_trained = bytes_per_trained_weight or bytes_per_weight
    weights = (parameters - trainable) * bytes_per_weight + trainable * bytes_trained
    gradients = trainable * bytes_trained
    master = 4 * trainable if zero_stage and bytes_trained == 2 else 0
    states = 8 * trainable if zero_stage or bytes_trained == 4 else 4 * trainable
    optimizer = master + states
    if zero_stage >= 1:
        optimizer = 0 if offload_optimizer else optimizer // num_devices
    if zero_stage >= 2:
        gradients = gradients // num_devices
    if zero_stage >= 3:
        weights = 0 if offload_weights else weights // num_devices
    return weights, gradients, optimizer


def estimate_activations(config, tokens, latents, *, bytes_per_number=4, gradient_checkpointing=False):
    """
    Bytes of activations that the backward pass keeps: 34 numbers of 16 bit per token, layer and unit of width (arXiv
    2205.05198, section 4, with an attention that does not keep its scores), of which checkpointing keeps the layers'
    inputs and recomputes one layer at a time; and the logits with their gradient in 32 bit.

    Args:
        config ([`C3Config`]): the model's.
        tokens, latents (`int`): of one micro-batch.
        bytes_per_number (`int`): 2 where it is computed in 16 bit.
        gradient_checkpointing (`bool`): as in `TrainingArguments`.
    """
    total = 0
    for backbone in (config.encoder_config, config.decoder_config):
        per_layer = 17 * bytes_per_number * (tokens + latents) * backbone.hidden_size
        layers = backbone.num_hidden_layers
        if gradient_checkpointing:
            total += per_layer + layers * bytes_per_number * (tokens + latents) * backbone.hidden_size
        else:
            total += per_layer * layers
    return total + tokens * config.decoder_config.vocab_size * (bytes_per_number + 8)
