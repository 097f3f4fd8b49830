"""Sequence classifiers of the library transformers, fine-tuned or trained from scratch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.models.huggingface.loading import config_of, network_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gantrain.config.types import HubPath

_WHO = "model huggingface"


class HuggingFace(nn.Module):
    """A sequence classifier of the transformers library: an encoder such as BERT, or a decoder such as GPT-2.

    Weights are read from safetensors only, and a model that comes with code of its own is refused. A head that is
    missing in the checkpoint, or has another number of classes there, is initialised at random. All parameters are
    float32. Dropout is set by the model's config.json.

    Args:
        spec: the description of the data, which must be texts.
        checkpoint: the folder of a model, or its name on the Hugging Face hub, such as ``bert-base-uncased``.
        pretrained: whether the weights of the checkpoint are used; false uses only its config.json and trains from
            scratch.

    Attributes:
        network: the model of transformers.
        padding: the token that fills up texts, or None.
        typed: whether the network uses token types.
        longest: the largest number of tokens in a text.

    Raises:
        UserError: the data are not texts, or the model cannot be loaded or does not fit them.
    """

    network: PreTrainedModel

    def __init__(self, spec: DataSpec, checkpoint: HubPath, pretrained: bool = True):
        super().__init__()
        if not spec.vocabulary:
            advice = "; use huggingface_images" if spec.image else ""
            raise UserError(f"{_WHO}: reads texts, as of the data set text, and these data are numbers{advice}")
        self.padding = spec.padding
        config = config_of(_WHO, checkpoint, pretrained, spec.classes)
        if config.is_encoder_decoder:
            raise UserError(f"{_WHO}: {checkpoint} is an encoder-decoder; choose an encoder or a decoder alone")
        if config.pad_token_id is None:
            config.pad_token_id = spec.padding
        elif spec.padding is not None and config.pad_token_id != spec.padding:
            raise UserError(
                f"{_WHO}: {checkpoint} fills up texts with token {config.pad_token_id}, the data with "
                f"{spec.padding}; use the model's own tokenizer"
            )
        self.network = network_of(_WHO, "AutoModelForSequenceClassification", checkpoint, config, pretrained)
        vocabulary = cast(nn.Embedding, self.network.get_input_embeddings()).num_embeddings
        if spec.vocabulary > vocabulary:
            raise UserError(
                f"{_WHO}: {checkpoint} knows {vocabulary} tokens, the data have {spec.vocabulary}; "
                "use the model's own tokenizer"
            )
        self.typed = getattr(config, "type_vocab_size", 0) > 1
        self.longest = _longest(self.network)
        self._check_length(spec.shape[-1])

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids ``(n, length)``, or ids and token types ``(n, 2, length)``, to logits ``(n, classes)``.

        Padding is not attended to. Padding at the end of all samples is cut off to save time.
        """
        ids, types = tokens.unbind(1) if tokens.dim() == 3 else (tokens, None)
        mask = torch.ones_like(ids) if self.padding is None else (ids != self.padding).long()
        places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
        length = max(int((mask * places).max()), 1)
        self._check_length(length)
        inputs = {"input_ids": ids[:, :length], "attention_mask": mask[:, :length]}
        if self.typed and types is not None:
            inputs["token_type_ids"] = types[:, :length]
        return self.network(**inputs).logits

    def _check_length(self, length: int) -> None:
        if length > self.longest:
            raise UserError(
                f"{_WHO}: takes texts of at most {self.longest} tokens, got one of {length}; lower data.max_length"
            )


def _longest(network: PreTrainedModel) -> float:
    """The largest number of tokens for which the network has position embeddings; infinity where it needs none."""
    positions = getattr(network.config, "max_position_embeddings", None) or -1
    # RoBERTa and models like it count positions from one above that of padding.
    lost = [
        module.padding_idx + 1
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
    ]
    return positions - max(lost, default=0) if positions > 0 else math.inf
