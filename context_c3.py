"""What a kind of context must give, so that a window of text becomes states of the encoder."""

from abc import ABC, abstractmethod
from functools import cached_property
from inspect import signature


class ContextModality(ABC):
    """
    A kind of context: what the encoder reads of a window of text, and its states that become latents. It keeps nothing:
    tokenizers and templates are the processor's, weights the model's. Windows and ratios count the decoder's tokens,
    whatever the encoder reads.

    With `pooling: queries` in its config a model has a table of queries, `model.context_queries`, which `states` must
    then use; with another pooling it has none.

    The kinds there are stand in `context_modalities_c3.py`; `config.context_modality` names one.
    """

    # Whether the encoder is a language model, with a tokenizer that it may have for itself.
    has_tokenizer = False

    def reads_ids(self, processor):
        """
        Whether the encoder reads the very ids that the decoder gives back (`bool`), so that a text may be cut between
        any two of them, and `from_text` is not needed.
        """
        return False

    @abstractmethod
    def from_text(self, processor, text):
        """
        What the encoder reads of the text of a window (`str`), in whatever form `inputs` takes. It is asked for while a
        long text is compressed, batch by batch, and must take any text.
        """

    @abstractmethod
    def inputs(self, processor, contexts, num_latents, pack=False):
        """
        The encoder's input for a batch of windows.

        Args:
            processor ([`C3Processor`]): tokenizers, templates and placeholders.
            contexts (`list`): what `from_text` made of each window, or its ids.
            num_latents (`list[int]`): N of each window.
            pack (`bool`): whether several windows may share a row; see `takes_packed_windows`.

        Returns:
            `dict[str, torch.Tensor]`, all names beginning with `context_`: what `C3Model.forward` is given.
        """

    @abstractmethod
    def states(self, model, **inputs):
        """
        Runs the encoder. Its parameters name what there is, `context_…`; a model takes no others.

        Args:
            model ([`C3Model`]): `model.encoder` and `model.context_queries`.
            **inputs: tensors that the method `inputs` makes, and what `places` adds, on the model's device.

        Returns:
            `torch.Tensor` of shape `(latents, D_enc)`: the N states of every window, one window after the other.

        Raises:
            ValueError: inputs that do not fit together or that this model was not trained for.
        """

    def check_ready(self, config):
        """
        Raises `ImportError` or `ValueError` where something that a model of this [`C3Config`] reads with is not there,
        such as a font: asked before a run begins.
        """
        return

    def check_plan(self, processor, plan):
        """Raises `ValueError` where windows ([`WindowPlan`]) hold more than so many latents can be made of."""
        return

    def readable_counts(self, processor, plan):
        """N of each window, `list[int]`: as planned ([`WindowPlan`]), or as many more as `check_plan` would ask for."""
        return plan.num_latents

    @cached_property
    def input_names(self):
        """`tuple[str]`: names of what `states` takes, which a model's `forward` passes on to it."""
        return tuple(name for name in signature(self.states).parameters if name.startswith("context_"))

    def places(self, processor, inputs):
        """
        What the method `inputs` made (`dict`), with whatever else `states` would have to read off the device: asked for
        where batches are made beforehand, as for training.
        """
        return inputs

    def takes_packed_windows(self, model):
        """Whether `inputs` may put several windows of a batch into a row (`bool`)."""
        return False


__all__ = ["ContextModality"]
