"""The Hugging Face model inside a :class:`LanguageModel`; what is asked for is checked before weights are read."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AutoHfQuantizer, AutoQuantizationConfig

from .tokenizer import resolve_pretrained
from .transformers_bridge import build_arguments

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers.utils.quantization_config import QuantizationConfigMixin

# Other initializations of LoRA change the layer's own weights, too: the frozen weights would not be those of the file.
_LORA_INITS = (True, False, 'gaussian', 'orthogonal')


def parse_dtype(name: str | torch.dtype) -> torch.dtype:
    """``'bfloat16'`` -> ``torch.bfloat16``.

    Raises:
        ValueError: if torch has no floating-point type of that name.
    """
    dtype = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(
            f"torch_dtype must name a floating-point type such as 'float32', 'float16' or 'bfloat16', got {name!r}"
        )
    return dtype


def refuse_unknown(what: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raises ValueError if ``given`` has keys that are not ``known``, with what may have been meant."""
    unknown = sorted(set(given) - known)
    if unknown:
        close = [c for key in unknown for c in difflib.get_close_matches(key, sorted(known), 1)]
        hint = f' (did you mean {", ".join(close)}?)' if close else ''
        raise ValueError(f'{what} takes no {", ".join(unknown)}{hint}; it takes {", ".join(sorted(known))}')


def lora_config(arguments: Mapping[str, Any]) -> LoraConfig:
    """Arguments of :class:`peft.LoraConfig`, checked, as such.

    Raises:
        ValueError: for arguments that the installed peft does not know, and for initializations that change the frozen
            weights (PiSSA, OLoRA and the like): checkpoints do not hold those.
    """
    from peft import LoraConfig

    known = {field.name for field in dataclasses.fields(LoraConfig) if field.init}
    refuse_unknown('lora (peft.LoraConfig)', arguments, known)
    init = arguments.get('init_lora_weights', True)
    if init not in _LORA_INITS:
        raise ValueError(
            f'lora.init_lora_weights={init!r} may change the frozen weights, which checkpoints do not hold: use one of '
            f'{", ".join(map(repr, _LORA_INITS))}'
        )
    return LoraConfig(**arguments)


def add_lora(lm: nn.Module, config: LoraConfig | None, frozen: bool) -> nn.Module:
    """Put adapters into a Hugging Face model and settle what of it trains.

    Frozen, that is what peft trains: adapters, and what ``modules_to_save``, ``bias`` and the like say.
    """
    if config is None:
        return lm.requires_grad_(not frozen)
    from peft import inject_adapter_in_model

    lm = inject_adapter_in_model(config, lm)
    if not frozen:
        lm.requires_grad_(True)
    for name, parameter in lm.named_parameters():
        if '.lora_' in name:
            # Adapters take the type of their layer; in bfloat16, AdamW's small steps would be rounded away.
            parameter.data = parameter.data.float()
    return lm


def quantization(arguments: Mapping[str, Any], dtype: torch.dtype) -> QuantizationConfigMixin:
    """``dict(load_in_4bit=True, ...)``, ``dict(quant_method=..., ...)`` -> transformers' quantization config.

    Raises:
        ValueError: for an unknown method or unknown arguments of it.
        ImportError: if the method's library is not installed or cannot work here.
    """
    arguments = dict(arguments)
    method = arguments.get('quant_method')
    if method is None and (arguments.get('load_in_4bit') or arguments.get('load_in_8bit')):
        method = 'bitsandbytes_8bit' if arguments.get('load_in_8bit') else 'bitsandbytes_4bit'
    if method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise ValueError(
            'quantization_config needs load_in_4bit=True, load_in_8bit=True or quant_method, one of '
            f'{", ".join(sorted(AUTO_QUANTIZATION_CONFIG_MAPPING))}; got {arguments}'
        )
    kind = AUTO_QUANTIZATION_CONFIG_MAPPING[method]
    known = set(inspect.signature(kind.__init__).parameters) - {'self', 'kwargs'}
    refuse_unknown(f'quantization_config ({kind.__name__})', arguments, known | {'quant_method'})
    with _library_is_named(method):
        config = AutoQuantizationConfig.from_dict(arguments)
    check_quantizer(config, dtype)
    return config


def check_quantizer(config: QuantizationConfigMixin | Mapping[str, Any], dtype: torch.dtype) -> None:
    """Raises ImportError if the library that a quantization config asks for is not installed or cannot work here."""
    method = config['quant_method'] if isinstance(config, Mapping) else config.quant_method
    with _library_is_named(getattr(method, 'value', method)):
        quantizer = AutoHfQuantizer.from_config(config, pre_quantized=False)
        quantizer.validate_environment(device_map=None, **build_arguments(dtype))


@contextmanager
def _library_is_named(method: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, RuntimeError) as error:  # the latter for want of a GPU
        raise ImportError(
            f'quantization by {method} is asked for, but its library cannot be used here: {error}. Install it (pip '
            'install), or leave quantization_config out'
        ) from error


def causal_config(name_or_path: str, overrides: Mapping[str, Any]) -> PretrainedConfig:
    """The Hugging Face config of a decoder-only language model.

    Raises:
        FileNotFoundError: if there is no model at a local path.
        ValueError: if it is a model of another kind.
    """
    path = resolve_pretrained(name_or_path, 'language model')
    if Path(path).exists() and not Path(path, 'config.json').is_file():
        adapter = Path(path, 'adapter_config.json').is_file()
        what = 'only adapters, give the folder of their base model' if adapter else 'no config.json'
        raise FileNotFoundError(f'no language model at {name_or_path!r}: there is {what}')
    try:
        config = AutoConfig.from_pretrained(path, **overrides)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f'the language model at {name_or_path!r} is of no kind that transformers {transformers.__version__} '
            f'knows: {error}'
        ) from error
    check_decoder_only(config, repr(name_or_path))
    return config


def check_decoder_only(config: PretrainedConfig, where: str) -> None:
    """Raises ValueError if a config is not that of a causal, decoder-only language model."""
    kind = None
    if getattr(config, 'is_encoder_decoder', False):
        kind = 'an encoder-decoder'
    elif type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, 'is_decoder', False):
        kind = 'an encoder, which sees words before they are said'
    elif type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = 'no language model'
    if kind is not None:
        raise ValueError(
            f'{where} is a {config.model_type}, {kind}: VisionLLM needs a decoder-only language model such as LLaMA, '
            'Qwen, Mistral or SmolLM'
        )


def load_pretrained(
    name_or_path: str,
    config: PretrainedConfig,
    dtype: torch.dtype,
    quantization_config: QuantizationConfigMixin | None = None,
) -> nn.Module:
    """Read a model's weights.

    Raises:
        ValueError: if some of them are not in its files.
    """
    kwargs = build_arguments(dtype)
    if quantization_config is not None:
        kwargs['quantization_config'] = quantization_config
    elif getattr(config, 'quantization_config', None) is not None:
        check_quantizer(config.quantization_config, dtype)
    path = resolve_pretrained(name_or_path, 'language model')
    lm, info = AutoModelForCausalLM.from_pretrained(path, config=config, output_loading_info=True, **kwargs)
    if missing := sorted(info['missing_keys']):
        raise ValueError(
            f'the files of the language model at {name_or_path!r} lack {len(missing)} weights, among them '
            f'{", ".join(missing[:3])}: save it from AutoModelForCausalLM, or wait for its files to be complete'
        )
    return lm


def build_random(config: Mapping[str, Any], dtype: torch.dtype) -> nn.Module:
    """A model of random weights.

    Raises:
        ValueError: if ``config`` is of no decoder-only language model.
    """
    hf_config = AutoConfig.for_model(**config)
    check_decoder_only(hf_config, 'language_model.config')
    return AutoModelForCausalLM.from_config(hf_config, **build_arguments(dtype))


@contextmanager
def quantized_weights_aside(model: nn.Module) -> Iterator[None]:
    """Within the block, a model has no parameters of integers: mmengine's ``init_weights`` takes the mean of each."""
    aside = []
    for module in model.modules():
        kept = {k: p for k, p in module._parameters.items() if p is None or p.is_floating_point()}
        if len(kept) < len(module._parameters):
            aside.append((module, module._parameters))
            module._parameters = kept
    try:
        yield
    finally:
        for module, parameters in aside:
            module._parameters = parameters
