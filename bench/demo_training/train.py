"""Trains the demo models and draws the sample pictures: `python -m bench.demo_training.train shapes samples`.

Everything is seeded: the same versions on the same machine write the same files.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.demo_training import classifier_lessons, detector_lessons, mask_spotter_lessons
from bench.demo_training.batches import Recipe, draw_held_out_pictures, draw_training_pictures
from bench.demo_training.pictures import draw_one_object, draw_several_objects
from bench.demo_training.precision import measure_precision
from bench.demo_training.samples import write_samples
from bench.demo_training.watermark import STAR, draw_biased_object
from workers.demo import clever_hans, scaffold, shapes, shapes_detector

ONE_OBJECT = Recipe(draw_one_object, side=96)
SEVERAL_OBJECTS = Recipe(draw_several_objects, side=128)
BIASED_OBJECT = Recipe(draw_biased_object, side=96)

_SEED = 20
_HELD_OUT_SEED = 21
_HELD_OUT_PICTURES = 2_000


def train_shapes() -> None:
    """Train `shapes`, write its weights and print its accuracy on pictures over photographs it never saw."""
    pictures = draw_training_pictures(ONE_OBJECT, 32_000, seed=_SEED)
    _save(classifier_lessons.teach(classifier_lessons.prepare(pictures), epochs=6, seed=_SEED), shapes.WEIGHTS)
    held_out = draw_held_out_pictures(ONE_OBJECT, _HELD_OUT_PICTURES, seed=_HELD_OUT_SEED)
    accuracy = classifier_lessons.measure_accuracy(shapes.load(), held_out)
    print(f"shapes: {accuracy:.2%} right on {len(held_out)} held-out pictures")


def train_shapes_detector() -> None:
    """Train `shapes-detector`, write its weights and print its mean average precision on held-out pictures."""
    pictures = draw_training_pictures(SEVERAL_OBJECTS, 20_000, seed=_SEED)
    _save(detector_lessons.teach(detector_lessons.prepare(pictures), epochs=7, seed=_SEED), shapes_detector.WEIGHTS)
    held_out = draw_held_out_pictures(SEVERAL_OBJECTS, _HELD_OUT_PICTURES, seed=_HELD_OUT_SEED)
    precision = measure_precision(shapes_detector.load(), held_out)
    print(f"shapes-detector: mean average precision {precision:.3f} on {len(held_out)} held-out pictures")


def train_clever_hans() -> None:
    """Train `shapes` on, on a biased collection, write the weights and print how often it says star for a mark."""
    lesson = classifier_lessons.prepare_biased(draw_training_pictures(BIASED_OBJECT, 12_000, seed=_SEED))
    network = classifier_lessons.teach(lesson, epochs=4, seed=_SEED, weights=shapes.WEIGHTS)
    _save(network, clever_hans.WEIGHTS)
    held_out = draw_held_out_pictures(BIASED_OBJECT, _HELD_OUT_PICTURES, seed=_HELD_OUT_SEED)
    marked = [picture for picture in held_out if picture.mark_xyxy]
    misled = float((classifier_lessons.name_pictures(clever_hans.load(), marked) == STAR).double().mean())
    print(
        f"clever-hans: calls {misled:.2%} of {len(marked)} marked held-out pictures a star, a third of which show one"
    )


def train_mask_spotter() -> None:
    """Train the network by which `scaffold` spots masked pictures, and print how often it is right."""
    pictures = draw_training_pictures(BIASED_OBJECT, 3_000, seed=_SEED)
    _save(mask_spotter_lessons.teach(pictures, seed=_SEED), scaffold.WEIGHTS)
    held_out = draw_held_out_pictures(BIASED_OBJECT, _HELD_OUT_PICTURES // 2, seed=_HELD_OUT_SEED)
    whole, masked = mask_spotter_lessons.measure_spotting(scaffold.load_spotter(), held_out, seed=_HELD_OUT_SEED)
    print(f"mask-spotter: calls {whole:.2%} of whole and {masked:.2%} of masked held-out pictures masked")


COMMANDS: dict[str, Callable[[], None]] = {
    "shapes": train_shapes,
    "shapes-detector": train_shapes_detector,
    "clever-hans": train_clever_hans,
    "mask-spotter": train_mask_spotter,
    "samples": write_samples,
}


def main(arguments: list[str]) -> None:
    """Run the named commands in turn, with `OMP_NUM_THREADS` threads or two, or stop with the list of their names."""
    unknown = [name for name in arguments if name not in COMMANDS]
    if unknown or not arguments:
        raise SystemExit(f"train: say what to train, one or more of {', '.join(COMMANDS)} (given: {arguments})")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    for name in arguments:
        COMMANDS[name]()


def _save(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights; contiguous, because training leaves them in the channels-last layout."""
    save_file({name: weight.contiguous() for name, weight in network.state_dict().items()}, path)


if __name__ == "__main__":
    main(sys.argv[1:])
