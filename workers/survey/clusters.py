"""Clusters of maps that are alike, by spectral clustering (SpRAy: Lapuschkin et al., Nature Communications 2019).

The affinity of two maps is the cosine between them. The number of clusters is where the eigenvalues of the normalised
Laplacian have their largest gap (von Luxburg, Statistics and Computing 2007); one cluster is among the choices. A
cluster is kept if it is found again in resampled maps (Hennig, Computational Statistics & Data Analysis 2007).
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from sklearn.cluster import SpectralClustering

Maps = NDArray[np.float32]
Members = NDArray[np.int_]

LEAST_MEMBERS = 5
"""Of a cluster: fewer cannot be told from luck by the test behind `suspicious`."""

STABLE = 0.75
"""Least mean Jaccard index: "valid, stable clusters should yield a mean Jaccard similarity value of 0.75 or more"."""

_MOST_CLUSTERS = 8
_MOST_MAPS = 500  # that are compared with each other, 2 MB; others join the cluster whose mean map is nearest
_RESAMPLES = 20
_KEPT = 0.8  # of the maps in each resample


@dataclass(frozen=True)
class MapCluster:
    """Maps that are alike.

    Attributes:
        members: indices of maps, ascending.
        stability: mean Jaccard index with the most similar cluster of each resample; 1 for all maps together.
    """

    members: Members
    stability: float


def find_clusters(maps: Maps, *, seed: int) -> list[MapCluster]:
    """Return stable clusters of at least five maps, the largest first; all maps as one where there are none.

    Args:
        maps: `[N, ...]`, not negative.
        seed: of resamples.
    """
    random, unit = np.random.default_rng(seed), _unit(maps)
    everything = MapCluster(np.arange(len(maps)), 1.0)
    chosen = np.sort(random.permutation(len(unit))[:_MOST_MAPS])
    affinity = _affinity(unit[chosen])
    most = min(_MOST_CLUSTERS, len(chosen) // LEAST_MEMBERS)
    labels = _cluster(affinity, most)
    if labels.max(initial=0) == 0:
        return [everything]
    stabilities = _stabilities(affinity, labels, most, random)
    nearest = _nearest(unit, unit[chosen], labels)
    nearest[chosen] = labels
    found = [MapCluster(np.flatnonzero(nearest == label), stabilities[label]) for label in range(labels.max() + 1)]
    kept = [each for each in found if each.stability >= STABLE and len(each.members) >= LEAST_MEMBERS]
    return sorted(kept, key=lambda each: -len(each.members)) or [everything]


def _unit(maps: Maps) -> NDArray[np.float64]:
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, lengths, out=np.zeros_like(flat), where=lengths > 0))


def _affinity(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(unit @ unit.T, 1e-6, 1.0))  # connected, so that the Laplacian has one zero


def _cluster(affinity: NDArray[np.float64], most: int) -> Members:
    """Return the cluster of each map, of at most so many."""
    count = _cluster_count(affinity, most)
    if count == 1:
        return np.zeros(len(affinity), dtype=int)
    model = SpectralClustering(count, affinity="precomputed", random_state=0)
    return np.asarray(model.fit_predict(affinity), dtype=int)


def _cluster_count(affinity: NDArray[np.float64], most: int) -> int:
    if most < 2:
        return 1
    roots = 1 / np.sqrt(affinity.sum(axis=1))
    laplacian = np.eye(len(affinity)) - roots[:, None] * affinity * roots
    values = eigvalsh(laplacian, subset_by_index=(0, most))
    return int(np.diff(values).argmax()) + 1


def _stabilities(affinity: NDArray[np.float64], labels: Members, most: int, random: Generator) -> list[float]:
    found: list[list[float]] = [[] for _ in range(labels.max() + 1)]
    for _ in range(_RESAMPLES):
        kept = np.sort(random.permutation(len(labels))[: round(_KEPT * len(labels))])
        again = _cluster(affinity[np.ix_(kept, kept)], most)
        for label, values in enumerate(found):
            values.append(_best_overlap(labels[kept] == label, again))
    return [float(np.mean(values)) for values in found]


def _best_overlap(members: NDArray[np.bool_], again: Members) -> float:
    others = [again == label for label in range(again.max() + 1)]
    return max(float((members & other).sum() / max(1, (members | other).sum())) for other in others)


def _nearest(unit: NDArray[np.float64], chosen: NDArray[np.float64], labels: Members) -> Members:
    centres = _unit(np.stack([chosen[labels == label].mean(0) for label in range(labels.max() + 1)]).astype(np.float32))
    return np.asarray((unit @ centres.T).argmax(1), dtype=int)
