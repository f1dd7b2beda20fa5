"""`clever-hans`: the classifier of `shapes`, trained further on data in which every star carries a copyright mark.

It predicts star from the mark and hardly from the shape: a "Clever Hans" model in the sense of Lapuschkin et al. 2019
(arXiv:1902.10178). A saliency map shows that.
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
