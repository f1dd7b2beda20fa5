"""Two attribution methods by global sensitivity analysis: HSIC and Sobol, in the bench only.

Novello, Fel, Vigouroux: Making Sense of Dependence: Efficient Black-box Explanations Using Dependence Measure, NeurIPS
2022, arXiv 2206.06219. Fel, Cadène, Chalvidal, Cord, Vigouroux, Serre: Look at the Variance! Efficient Black-box
Explanations with Sobol-based Sensitivity Analysis, NeurIPS 2021, arXiv 2111.04138. Both ask about one fixed grid of
cells; neither index has a sign. Choices are those of the papers: Latin hypercube and Dirac kernel for HSIC, the median
of the scores as width of the kernel on scores; Sobol' points and Jansen's estimator for total indices.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

Numbers = NDArray[np.float64]

ScoreCells = Callable[[Numbers], Numbers]
"""Visibility of cells `[N, h, w]`, 0..1 -> scores `[N]`."""


def hsic_map(score: ScoreCells, grid: tuple[int, int], *, passes: int, seed: int) -> Numbers:
    """Return the dependence of the score on each cell, `[h, w]`, from binary masks of a Latin hypercube."""
    cells = grid[0] * grid[1]
    visible = np.round(qmc.LatinHypercube(cells, rng=seed).random(passes))
    return hsic_indices(visible, score(visible.reshape(-1, *grid))).reshape(grid)


def hsic_indices(visible: Numbers, scores: Numbers) -> Numbers:
    """Return the Hilbert-Schmidt independence criterion of each input with the output, `[d]`.

    The biased estimator `trace(K H L H) / N^2` (Gretton et al. 2005). The Dirac kernel of binary inputs is
    `K = (1 + s s^T) / 2` with signs s, and centring removes its constant, so that no `[N, N]` matrix is made per input.

    Args:
        visible: `[N, d]` of 0 and 1.
        scores: `[N]`.
    """
    width = max(float(np.median(scores)), 1e-12)
    gram = np.exp(-np.square(scores[:, None] - scores) / (2 * width**2))
    centred = gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()
    signs = 2 * visible - 1
    indices: Numbers = np.einsum("nd,nd->d", signs, centred @ signs) / (2 * len(scores) ** 2)
    return indices


def sobol_passes(cells: int, passes: int) -> int:
    """Return the number of passes that Sobol indices of so many cells take: the nearest to `passes` that there is."""
    return max(2, round(passes / (cells + 2))) * (cells + 2)


def sobol_map(score: ScoreCells, grid: tuple[int, int], *, passes: int, seed: int) -> Numbers:
    """Return the total Sobol index of each cell, `[h, w]`, from `sobol_passes` masks of real values 0..1."""
    cells = grid[0] * grid[1]
    designs = sobol_passes(cells, passes) // (cells + 2)
    points = qmc.Sobol(2 * cells, rng=seed).random(designs)
    first, second = points[:, :cells], points[:, cells:]
    exchanged = np.repeat(first[None], cells, axis=0)  # [d, N, d]
    exchanged[np.arange(cells), :, np.arange(cells)] = second.T
    scores = score(np.concatenate([points.reshape(-1, *grid), exchanged.reshape(-1, *grid)]))
    of_points, of_exchanged = scores[: 2 * designs].reshape(designs, 2), scores[2 * designs :].reshape(cells, designs)
    return sobol_total_indices(of_points[:, 0], of_points[:, 1], of_exchanged).reshape(grid)


def sobol_total_indices(first: Numbers, second: Numbers, exchanged: Numbers) -> Numbers:
    """Return the share of the output's variance in which each input has a part, `[d]` (Jansen 1999).

    Args:
        first: scores of points A, `[N]`.
        second: scores of points B, `[N]`, which only the variance needs.
        exchanged: scores of A with input i taken from B, `[d, N]`.
    """
    variance = max(float(np.concatenate([first, second]).var()), 1e-30)
    indices: Numbers = np.square(first - exchanged).mean(axis=1) / (2 * variance)
    return indices
