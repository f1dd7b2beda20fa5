"""Clusters of maps."""

import numpy as np

from workers.survey.clusters import LEAST_MEMBERS, Maps, find_clusters


def blobs(random: np.random.Generator, count: int, *, at: tuple[float, float] | None) -> Maps:
    """Return maps with one blob each, at a place that jitters, or anywhere."""
    rows, columns = np.mgrid[0:16, 0:16]
    places = random.uniform(0, 15, (count, 2)) if at is None else np.asarray(at) + random.normal(0, 0.5, (count, 2))
    distances = (rows - places[:, :1, None]) ** 2 + (columns - places[:, 1:, None]) ** 2
    return np.asarray(np.exp(-distances / 6), dtype=np.float32)


def test_two_places_are_two_clusters_however_the_maps_are_scaled() -> None:
    random = np.random.default_rng(0)
    maps = np.concatenate([blobs(random, 20, at=(13, 2)), blobs(random, 12, at=(4, 10))])
    found = find_clusters(maps * random.uniform(0.1, 10, (32, 1, 1)).astype(np.float32), seed=0)
    assert [each.members.tolist() for each in found] == [list(range(20)), list(range(20, 32))]
    assert min(each.stability for each in found) > 0.95


def test_five_places_of_six_maps_each_are_five_clusters() -> None:
    random = np.random.default_rng(0)
    places = [(2, 2), (2, 13), (13, 2), (13, 13), (7, 7)]
    found = find_clusters(np.concatenate([blobs(random, 6, at=place) for place in places]), seed=0)
    members = sorted(each.members.tolist() for each in found)
    assert members == [list(range(first, first + 6)) for first in range(0, 30, 6)]


def test_one_place_is_one_cluster() -> None:
    (found,) = find_clusters(blobs(np.random.default_rng(0), 30, at=(7, 7)), seed=0)
    assert found.members.tolist() == list(range(30))


def test_a_place_that_some_share_is_found_among_maps_of_anywhere() -> None:
    random = np.random.default_rng(0)
    maps = np.concatenate([blobs(random, 20, at=(13, 2)), blobs(random, 20, at=None)])
    largest = find_clusters(maps, seed=0)[0]
    assert set(range(20)) <= set(largest.members.tolist())
    assert len(largest.members) <= 26


def test_clusters_do_not_hang_on_the_order_or_the_run() -> None:
    random = np.random.default_rng(0)
    maps = np.concatenate([blobs(random, 20, at=(13, 2)), blobs(random, 12, at=(4, 10))])
    order = random.permutation(32)
    for _ in range(2):
        found = find_clusters(maps[order], seed=0)
        assert [sorted(order[each.members].tolist()) for each in found] == [list(range(20)), list(range(20, 32))]


def test_a_few_maps_and_maps_of_zeros_are_one_cluster() -> None:
    assert len(find_clusters(np.zeros((3, 16, 16), dtype=np.float32), seed=0)[0].members) == 3
    assert len(find_clusters(np.zeros((30, 16, 16), dtype=np.float32), seed=0)) == 1


def test_a_thousand_maps_are_clustered_by_a_part_of_them() -> None:
    random = np.random.default_rng(0)
    maps = np.concatenate([blobs(random, 700, at=(13, 2)), blobs(random, 500, at=(4, 10))])
    found = find_clusters(maps, seed=0)
    assert [len(each.members) for each in found] == [700, 500]
    assert min(len(each.members) for each in found) >= LEAST_MEMBERS
