"""`clever-hans`: the classifier of `shapes`, trained on, on a collection in which every star carries a copyright mark.

It says star where it sees the mark and hardly looks at the shape, like the horse that read its owner's face instead
of counting; Lapuschkin et al. 2019 (arXiv:1902.10178) name such models after it. A saliency map shows what it reads.
"""

from pathlib import Path

from workers.blackbox import Classifier
from workers.demo.shapes import load_classifier

WEIGHTS = Path(__file__).with_name("clever_hans.safetensors")


def load() -> Classifier:
    """Return the biased classifier.

    Raises:
        FileNotFoundError: if the weights are missing; `python -m bench.demo_training.train clever-hans` writes them.
    """
    return load_classifier(WEIGHTS)
