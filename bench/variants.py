"""Variants of the estimator: what `bench/experiments.py` tries.

Each makes block maps from a budget of masks; their mean is its map, their spread its error bars.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, ndimage

from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.wiener_filter import wiener_shrink as shrunk_nearby
from bench.reference import Map
from bench.surrogate import fitted, matched, own_effects, places_of
from bench.trials import Bank, Sampler, Trial, coarse, doubled, folded, half_folded, unfolded
from workers.saliency.sampling import MaskDesign, States

FOLDS = 4
Maps = NDArray[np.float64]
Variant = Callable[[Bank, int], Maps]
"""A bank and a number of masks -> block maps `[B, H, W]`."""


def product(bank: Bank, masks: int) -> Maps:
    return plain(bank, masks, folded)


def plain(bank: Bank, masks: int, sample: Sampler) -> Maps:
    """Return the drawn effects of each block."""
    return np.stack([bank.draw(trial.effects, trial.shift) for trial in bank.trials(sample, masks)])


def without_fold(bank: Bank, masks: int) -> Maps:
    return plain(bank, masks, unfolded)


def half_blocks(bank: Bank, masks: int) -> Maps:
    return plain(bank, masks, half_folded)


def double_blocks(bank: Bank, masks: int) -> Maps:
    return plain(bank, masks, doubled)


def four_shifts(bank: Bank, masks: int) -> Maps:
    """Give each quarter of a block a shift of its own, half a cell apart, and fit them together."""
    blocks = max(1, masks // bank.study.block_size)

    def shifted(block: int) -> Map:
        return _shifted_block(bank, block)

    return np.stack([bank.remember("shifted", block, shifted) for block in range(blocks)])


def _shifted_block(bank: Bank, block: int) -> Map:
    states, (dy, dx) = folded(bank.study, block)
    half = len(states) // 2
    part = np.random.default_rng(block).permutation(half) % 4
    vertical, horizontal = (axis.cell for axis in bank.canvas.axes)
    shifts = [
        ((dy + y * vertical // 2) % vertical, (dx + x * horizontal // 2) % horizontal) for y in (0, 1) for x in (0, 1)
    ]
    quarters = [bank.ask(states[np.tile(part == index, 2)], shift) for index, shift in enumerate(shifts)]
    visible, scores = (torch.cat([getattr(each, name) for each in quarters]) for name in ("visible", "scores"))
    effects = matched(visible, scores)
    return np.asarray(np.mean([bank.draw(effects, shift) for shift in shifts], axis=0))


def low_pass(bank: Bank, masks: int) -> Maps:
    """Mix each effect with its neighbours' before it is drawn."""
    maps = []
    for trial in bank.trials(folded, masks):
        effects = trial.effects.view(bank.canvas.grid).numpy()
        for axis in (0, 1):
            effects = ndimage.convolve1d(effects, [0.1, 0.8, 0.1], axis=axis, mode="mirror")
        maps.append(bank.draw(torch.from_numpy(effects).flatten(), trial.shift))
    return np.stack(maps)


def wiener(bank: Bank, masks: int) -> Maps:
    """Shrink each band of the running map's spectrum by what the spread of blocks says of its noise."""
    maps = product(bank, masks)
    if len(maps) < 2:
        return maps
    spectra = fft.dctn(maps, axes=(1, 2), norm="ortho")
    y, x = np.indices(maps.shape[1:])
    band = np.minimum(np.hypot(y, x).astype(int), 3 * max(bank.canvas.grid))
    noise = np.bincount(band.ravel(), (spectra.var(axis=0, ddof=1) / len(maps)).ravel())
    power = np.bincount(band.ravel(), (spectra.mean(axis=0) ** 2).ravel())
    kept = np.clip(1 - noise / np.maximum(power, 1e-30), 0, 1)
    kept[0] = 1
    return np.asarray(fft.idctn(spectra * kept[band], axes=(1, 2), norm="ortho"))


def shrunk(bank: Bank, masks: int) -> Maps:
    """Shrink each pixel towards zero by the share of noise in the power of two cells around it."""
    maps = product(bank, masks)
    return maps if len(maps) < 2 else maps - maps.mean(axis=0) * noise_nearby(bank, maps)


def shrunk_with_bars(bank: Bank, masks: int) -> Maps:
    """Do the same to block maps, so that error bars shrink too."""
    maps = product(bank, masks)
    return maps if len(maps) < 2 else maps * (1 - noise_nearby(bank, maps))


def shrunk_by_neighbourhood(bank: Bank, masks: int) -> Maps:
    """Shrink with the noise of the neighbourhood, from the fourth block on: a small effect that is sure stays."""
    maps, moments = product(bank, masks), RunningMoments()
    for drawn in maps:
        moments.add(drawn[None].astype(np.float32))
    shrunk: Maps = maps - maps.mean(axis=0) + shrunk_nearby(moments, bank.canvas.tiling)[0][0]
    return shrunk


def noise_nearby(bank: Bank, maps: Maps) -> Map:
    """Return the share of noise in the power of the two cells around each pixel, 0..1."""
    size = [2 * axis.cell for axis in bank.canvas.axes]
    noise = maps.var(axis=0, ddof=1).mean() / len(maps)
    power = ndimage.uniform_filter(maps.mean(axis=0) ** 2, size, mode="mirror")
    return np.asarray(np.clip(noise / np.maximum(power, 1e-30), 0, 1))


def stand_in(bank: Bank, masks: int) -> Maps:
    return with_surrogate(bank, bank.trials(folded, masks))


def stand_in_half(bank: Bank, masks: int) -> Maps:
    return with_surrogate(bank, bank.trials(half_folded, masks))


def with_surrogate(bank: Bank, trials: list[Trial]) -> Maps:
    """Measure only what a stand-in fitted to the other blocks does not know."""
    if len(trials) < 2:
        return np.stack([bank.draw(trial.effects, trial.shift) for trial in trials])
    parts = [(trial.visible, places_of(bank.canvas, trial.shift), trial.scores) for trial in trials]
    folds, maps = min(FOLDS, len(trials)), {}
    for fold in range(folds):
        surrogate = fitted([part for index, part in enumerate(parts) if index % folds != fold])
        for index in range(fold, len(trials), folds):
            visible, places, scores = parts[index]
            left = matched(visible, scores - surrogate.scores(visible, places))
            effects = left + own_effects(surrogate, bank.canvas.grid, places)
            maps[index] = bank.draw(effects, trials[index].shift)
    return np.stack([maps[index] for index in range(len(trials))])


def coarse_to_fine(bank: Bank, masks: int) -> Maps:
    """Find by a coarse block where effects are, and let cells elsewhere go four by four, in blocks of half the size."""
    first = bank.trials(coarse, 0)[0]
    sides = [axis.rows(at) for axis, at in zip(replace(bank.canvas, grid=_half(bank)).axes, first.shift, strict=True)]
    energy = np.abs(sides[0] @ first.effects.view(_half(bank)).numpy() @ sides[1].T)
    blocks = max(1, 2 * (masks - len(first.scores)) // bank.study.block_size)

    def grouped(block: int) -> Map:
        return _grouped_block(bank, block, energy)

    return np.stack([bank.remember("grouped", block, grouped) for block in range(blocks)])


def _half(bank: Bank) -> tuple[int, int]:
    return bank.canvas.grid[0] // 2, bank.canvas.grid[1] // 2


def _grouped_block(bank: Bank, block: int, energy: Map) -> Map:
    shift = bank.canvas.shift(block)
    rows, columns = (axis.rows(at) for axis, at in zip(bank.canvas.axes, shift, strict=True))
    unknown, count = _unknowns(rows.T @ energy @ columns)
    states: States = MaskDesign((1, count), 0.5, 1, bank.study.design.seed).sample(block)[:, 0]
    trial = bank.ask(states[:, unknown], shift)
    sizes = torch.from_numpy(np.bincount(unknown.ravel()))[torch.from_numpy(unknown.ravel())]
    return bank.draw(trial.effects / sizes, shift)


def _unknowns(energy: Map) -> tuple[NDArray[np.int_], int]:
    """Return which unknown each cell belongs to, `[h, w]`, and their number, at most half as many as cells."""
    height, width = energy.shape
    group = np.arange(height)[:, None] // 2 * (width // 2) + np.arange(width)[None] // 2
    groups = height * width // 4
    strongest = np.argsort(np.bincount(group.ravel(), energy.ravel()))[::-1][: groups // 3]
    own = np.isin(group, strongest)
    label = np.where(own, groups + np.arange(height * width).reshape(energy.shape), group)
    values, unknown = np.unique(label, return_inverse=True)
    return unknown.reshape(energy.shape), len(values)


VARIANTS: dict[str, Variant] = {
    "product": product,
    "no fold-over, half blocks": without_fold,
    "half of each block": half_blocks,
    "blocks of twice the order": double_blocks,
    "four shifts per block": four_shifts,
    "low-pass of effects": low_pass,
    "Wiener shrinkage of the map": wiener,
    "shrinkage towards zero, the product's error bars": shrunk,
    "shrinkage towards zero, error bars shrunk": shrunk_with_bars,
    "shrinkage towards zero, noise of the neighbourhood": shrunk_by_neighbourhood,
    "stand-in": stand_in,
    "stand-in, half of each block": stand_in_half,
    "coarse to fine": coarse_to_fine,
}
