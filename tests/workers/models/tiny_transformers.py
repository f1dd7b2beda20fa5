"""Tiny models and image processors of transformers, with random weights, made from their configurations."""

from typing import Any

from tests.workers.models.entries import library

transformers = library("transformers")

NAMES = {0: "cat", 1: "dog", 2: "bird"}


def vit(**changes: Any) -> Any:
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    config.id2label, config.label2id = NAMES, {name: index for index, name in NAMES.items()}
    config.update(changes)
    return transformers.ViTForImageClassification(config)


def resnet() -> Any:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.id2label = NAMES
    return transformers.ResNetForImageClassification(config)


def convnext() -> Any:
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
    config.id2label = NAMES
    return transformers.ConvNextForImageClassification(config)


def backbone() -> Any:
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )


SMALL = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}


def detr() -> Any:
    config = transformers.DetrConfig(
        backbone_config=backbone(), use_timm_backbone=False, num_queries=12, **SMALL, id2label=NAMES
    )
    return transformers.DetrForObjectDetection(config)


def conditional_detr() -> Any:
    config = transformers.ConditionalDetrConfig(
        backbone_config=backbone(), use_timm_backbone=False, num_queries=12, **SMALL, id2label=NAMES
    )
    return transformers.ConditionalDetrForObjectDetection(config)


def yolos() -> Any:
    config = transformers.YolosConfig(
        image_size=[64, 96],
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_detection_tokens=12,
        id2label=NAMES,
    )
    return transformers.YolosForObjectDetection(config)


def rt_detr() -> Any:
    stages = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=stages,
        encoder_hidden_dim=16,
        encoder_in_channels=[16, 16, 16],
        feat_strides=[8, 16, 32],
        encoder_ffn_dim=16,
        d_model=16,
        num_queries=20,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        id2label=NAMES,
    )
    model = transformers.RTDetrForObjectDetection(config)
    for head in model.model.decoder.class_embed:
        head.reset_parameters()  # because the library starts from scores near 0, and a map of nothing is refused
    return model


def segformer() -> Any:
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=NAMES,
    )
    return transformers.SegformerForSemanticSegmentation(config)


PROCESSORS: dict[str, Any] = {
    "vit": lambda: transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}),
    "convnext-cut": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 48}),
    "convnext-warped": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 384}),
    "deit": transformers.DeiTImageProcessorPil,
    "clip": lambda: transformers.CLIPImageProcessorPil(size={"shortest_edge": 96}, crop_size=81),
    "poolformer": transformers.PoolFormerImageProcessorPil,
    "levit": transformers.LevitImageProcessorPil,
    "efficientnet": lambda: transformers.EfficientNetImageProcessorPil(rescale_offset=True, rescale_factor=1 / 127.5),
    "mobilevit": lambda: transformers.MobileViTImageProcessorPil(size={"shortest_edge": 288}),
    "without-rescaling": lambda: transformers.ViTImageProcessorPil(do_rescale=False, do_normalize=False),
    "detr": lambda: transformers.DetrImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 160}),
    "detr-long": lambda: transformers.DetrImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 117}),
    "yolos": lambda: transformers.YolosImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 160}),
    "owl-vit": lambda: transformers.OwlViTImageProcessorPil(size={"height": 96, "width": 96}),
    "segformer": lambda: transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64}),
    "rt-detr": lambda: transformers.RTDetrImageProcessorPil(size={"height": 96, "width": 96}),
}


def _text(**changes: Any) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {"vocab_size": 1200, "max_position_embeddings": 16, **sizes, **changes}


def _vision(side: int) -> dict[str, Any]:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {"image_size": side, "patch_size": 16, **sizes}


def clip() -> Any:
    text = _text(eos_token_id=102, bos_token_id=101, pad_token_id=0)
    config = transformers.CLIPConfig(text_config=text, vision_config=_vision(81), projection_dim=16)
    return transformers.CLIPModel(config)


def siglip() -> Any:
    config = transformers.SiglipConfig(text_config=_text(projection_size=16), vision_config=_vision(32))
    model = transformers.SiglipModel(config)
    model.logit_scale.data.fill_(2.0)
    model.logit_bias.data.fill_(-1.0)
    return model


def owl_vit() -> Any:
    text = _text(eos_token_id=102, bos_token_id=101, pad_token_id=0)
    config = transformers.OwlViTConfig(text_config=text, vision_config=_vision(96), projection_dim=16)
    return transformers.OwlViTForObjectDetection(config)


def grounding_dino() -> Any:
    stages = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
        window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )
    text = transformers.BertConfig(**_text(max_position_embeddings=64))
    config = transformers.GroundingDinoConfig(
        backbone_config=stages,
        text_config=text,
        num_queries=12,
        **{**SMALL, "d_model": 32, "decoder_layers": 2},
        max_text_len=64,
    )
    return transformers.GroundingDinoForObjectDetection(config)


PROMPTED_TOKENS = ["a", "photo", "of", "cat", "dog", "small", "bird"]


def tokenizer() -> Any:
    """Return a tokenizer of whole words; its marks have the numbers that BERT's have."""
    words = {f"[unused{index}]": index for index in range(1200)}
    named = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    named |= {1100 + index: word for index, word in enumerate(PROMPTED_TOKENS)}
    vocabulary = {named.get(index, word): index for word, index in words.items()}
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=16)
