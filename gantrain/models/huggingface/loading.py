"""Loading of the networks of transformers: a checkpoint's config, and its network with or without the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gantrain.config.types import shown
from gantrain.data.pretrained import load
from gantrain.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_FILES = "config.json and model.safetensors"


def config_of(who: str, checkpoint: str, pretrained: bool, outputs: int) -> PretrainedConfig:
    """The config of a checkpoint, for a head of so many outputs.

    Args:
        who: the model, with which error messages begin.
        checkpoint: a folder, or a name on the hub.
        pretrained: whether the weights are wanted too, for the message.
        outputs: the number of outputs.

    Raises:
        UserError: the config cannot be loaded, or names code.
    """
    files = _FILES if pretrained else "config.json"
    config = load(f"{who}: checkpoint", "AutoConfig", checkpoint, files, num_labels=outputs)
    _require_no_kernels(who, config, checkpoint)
    return config


def network_of(who: str, auto: str, checkpoint: str, config: PretrainedConfig, pretrained: bool) -> PreTrainedModel:
    """The network of a checkpoint in float32 and in training mode.

    Args:
        who: the model, with which error messages begin.
        auto: the name of an Auto class of transformers, which adds the head.
        checkpoint: a folder, or a name on the hub.
        config: the checkpoint's config.
        pretrained: whether the weights are those of the checkpoint. A head that is missing there, or has another
            number of outputs, is drawn at random, as all weights are otherwise.

    Raises:
        UserError: the weights cannot be loaded, or are not those that the config describes.
    """
    if pretrained:
        network = _pretrained(who, auto, checkpoint, config)
    else:
        import transformers

        try:
            network = getattr(transformers, auto).from_config(config, dtype=torch.float32, trust_remote_code=False)
        except ValueError as error:  # there is no such head for this kind of network
            raise UserError(f"{who}: {checkpoint}: {str(error).partition(chr(10))[0][:200]}") from error
    network.train()  # transformers loads networks in evaluation mode
    return network


def _require_no_kernels(who: str, config: PretrainedConfig, checkpoint: str) -> None:
    """Refuse a config.json that names attention by a kernel of the hub, which transformers would download and run."""
    inner = (getattr(config, name, None) for name in getattr(config, "sub_configs", {}))
    for each in (config, *inner):
        attention = str(getattr(each, "_attn_implementation", None))
        if "/" in attention:
            raise UserError(
                f"{who}: checkpoint: {checkpoint}: its config.json names the kernel {shown(attention)}, which is code "
                "of the Hugging Face hub; take the key out"
            )


def _pretrained(who: str, auto: str, checkpoint: str, config: PretrainedConfig) -> PreTrainedModel:
    network, info = load(
        f"{who}: checkpoint",
        auto,
        checkpoint,
        _FILES,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    # The head is what lies outside the base model, has as many rows as there are outputs, or is a pooler, which
    # checkpoints of masked language models lack.
    base = f"{network.base_model_prefix}." if hasattr(network, network.base_model_prefix) else ""
    drawn = {*info["missing_keys"]}
    for key, stored, own in info["mismatched_keys"]:
        if own[0] != config.num_labels or stored[1:] != own[1:]:
            drawn.add(key)
    body = [k for k in sorted(drawn) if k.startswith(base) and not {"pooler", "classifier"} & {*k.split(".")}]
    if body:
        raise UserError(
            f"{who}: {checkpoint}: {len(body)} of the weights that its config.json describes are not in its files, or "
            f"have another shape there, {body[0]} for one"
        )
    return network
