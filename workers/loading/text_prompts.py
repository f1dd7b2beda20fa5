"""Models of transformers that are asked in words: texts take the place of classes.

The library's own forward pass computes the scores. Only its text encoder is replaced, by one that encodes the same
texts once.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app.contract.schemas import Task
from workers.model_io.hub import first_line

_TEXT_ENCODERS = ("text_model", "text_backbone")
_PADDED = ("siglip",)  # kinds of models that were trained with texts of full length
_PHRASES = ("grounding-dino", "mm-grounding-dino")  # kinds of models that read all texts as one, and score its tokens


def prompted_task(config: Any) -> Task | None:
    """Return the task of a model that is asked in words; None for all others."""
    from transformers.models.auto import modeling_auto  # noqa: PLC0415 - an optional library

    tasks: dict[Task, Mapping[str, str]] = {
        "classification": modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES,
        "detection": modeling_auto.MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES,
    }
    for task, names in tasks.items():
        if names.get(config.model_type) in (config.architectures or ()):
            return task
    return None


def ask(model: nn.Module, config: Any, folder: Path, prompts: Sequence[str]) -> nn.Module:
    """Return a module that takes normalised images `[B, 3, H, W]` and gives `logits` for the prompts, by name.

    Args:
        model: for classification or detection without fixed classes.
        config: of the model.
        folder: with the tokenizer's files.
        prompts: one text for each class.

    Raises:
        ValueError: if the texts cannot be tokenised, or one is too long for the model.
    """
    _remember_texts(model)
    if config.model_type in _PHRASES:
        texts = _tokens(folder, [". ".join(prompt.strip().lower() for prompt in prompts) + "."])
        _check_length(texts, config)
        return _PromptedDetector(model, texts, _spans(texts["input_ids"][0], prompts))
    length = {"max_length": config.text_config.max_position_embeddings}
    padded = config.model_type.startswith(_PADDED)
    texts = _tokens(folder, list(prompts), **({"padding": "max_length", **length} if padded else {"padding": True}))
    _check_length(texts, config)
    kind = _PromptedDetector if prompted_task(config) == "detection" else _PromptedClassifier
    return kind(model, texts)


class _Prompted(nn.Module):
    """A model together with its texts, which move to a device with it."""

    def __init__(self, model: nn.Module, texts: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self._names = tuple(texts)
        for name, tokens in texts.items():
            self.register_buffer(name, tokens, persistent=False)

    def texts(self, times: int = 1) -> dict[str, Tensor]:
        """Return the tokens of all texts, several times one after the other."""
        return {name: getattr(self, name).repeat(times, 1) for name in self._names}


class _PromptedClassifier(_Prompted):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `logits` `[B, T]`, one for each text."""
        return {"logits": self.model(pixel_values=images, **self.texts()).logits_per_image}


class _PromptedDetector(_Prompted):
    def __init__(self, model: nn.Module, texts: Mapping[str, Tensor], spans: Sequence[Tensor] | None = None) -> None:
        super().__init__(model, texts)
        self._spans = spans

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `logits` `[B, P, T]`, one for each text, and `pred_boxes` `[B, P, 4]`."""
        outputs = self.model(pixel_values=images, **self.texts(len(images)))
        logits = outputs.logits
        if self._spans is not None:  # a phrase scores as its best token, as in the library's own post-processing
            logits = torch.stack([logits[..., span.to(logits.device)].amax(-1) for span in self._spans], -1)
        return {"logits": logits, "pred_boxes": outputs.pred_boxes}


class _RememberedTexts(nn.Module):
    """A text encoder whose texts are always the same, computed once for each number of them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self._outputs: dict[tuple[object, ...], Any] = {}

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Return what the encoder does."""
        tokens = arguments[0] if arguments else named["input_ids"]
        key = (*tokens.shape, tokens.device, next(self.encoder.parameters()).dtype)
        if key not in self._outputs:
            self._outputs[key] = self.encoder(*arguments, **named)
        return copy.copy(self._outputs[key])  # because models write into it

    def reset_parameters(self) -> None:
        """Forget what was computed: weights are about to change."""
        self._outputs.clear()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("encoder"), name)


def _remember_texts(model: nn.Module) -> None:
    """Replace the text encoder of a model, in place."""
    for module in list(model.modules()):
        for name in _TEXT_ENCODERS:
            encoder = module._modules.get(name)
            if encoder is not None and not isinstance(module, _RememberedTexts):
                setattr(module, name, _RememberedTexts(encoder))
                return


def _tokens(folder: Path, texts: list[str], **options: Any) -> dict[str, Tensor]:
    from transformers import AutoTokenizer  # noqa: PLC0415 - an optional library

    try:
        known: Any = AutoTokenizer
        tokenizer = known.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        _check_words(folder, tokenizer.vocab_files_names.values())
        return dict(tokenizer(texts, return_tensors="pt", **options))
    except (OSError, ValueError, KeyError, ImportError, TypeError) as cause:
        raise ValueError(f"prompts: the tokenizer of {folder} cannot be used: {first_line(cause)}") from cause


def _check_words(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder without the words of its tokenizer, of which the library makes one that knows none."""
    if not any((folder / name).is_file() for name in names):
        raise ValueError(f"there is none of {', '.join(names)}")


def _check_length(texts: Mapping[str, Tensor], config: Any) -> None:
    most = getattr(config, "max_text_len", None) or config.text_config.max_position_embeddings
    if texts["input_ids"].shape[1] > most:
        raise ValueError(f"prompts: {texts['input_ids'].shape[1]} tokens; the model reads at most {most}: shorten them")


def _spans(tokens: Tensor, prompts: Sequence[str]) -> list[Tensor]:
    """Return the places of each prompt's tokens in the text that joins them.

    Raises:
        ValueError: if the text falls into other parts than the prompts.
    """
    from transformers.models.grounding_dino.modeling_grounding_dino import SPECIAL_TOKENS  # noqa: PLC0415

    ends = torch.isin(tokens, torch.tensor(SPECIAL_TOKENS)).nonzero().flatten().tolist()
    spans = [torch.arange(first + 1, last) for first, last in pairwise(ends) if last > first + 1]
    if len(spans) != len(prompts):
        raise ValueError(
            f"prompts: {len(prompts)} texts are {len(spans)} phrases for the model; write no . or ? in them"
        )
    return spans
