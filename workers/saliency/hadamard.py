"""Hadamard matrices: square, of +1 and -1, every two columns orthogonal. Designs of masks are made of their columns.

Sylvester's exist for powers of two. Paley's (Journal of Mathematics and Physics 12, 1933) fill most gaps: of order
q + 1 for primes q = 3 mod 4, and 2 (q + 1) for primes q = 1 mod 4. Any of them can be doubled.
"""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int8]


@cache
def hadamard_order(least: int) -> int:
    """Return the smallest order of at least `least` for which there is a construction here."""
    order = max(least, 2)
    while not _is_constructible(order):
        order += 1
    return order


@lru_cache(maxsize=8)
def hadamard_matrix(order: int) -> Signs:
    """Return a Hadamard matrix, `[order, order]`; read-only, because it is kept.

    Raises:
        ValueError: for an order without a construction.
    """
    if not _is_constructible(order):
        raise ValueError(f"there is no Hadamard matrix of order {order} here")
    is_power_of_two = order & (order - 1) == 0  # Sylvester's, which earlier versions had for every order
    if order == 1:
        matrix = np.ones((1, 1), dtype=np.int8)
    elif _is_prime(order - 1) and not is_power_of_two:
        matrix = _paley_first(order - 1)
    elif _is_of_second_kind(order) and not is_power_of_two:
        matrix = _paley_second(order // 2 - 1)
    else:
        matrix = np.kron(np.array([[1, 1], [1, -1]], dtype=np.int8), hadamard_matrix(order // 2))
    matrix.flags.writeable = False
    return matrix


def _is_constructible(order: int) -> bool:
    if order in {1, 2}:
        return True
    if order % 4:
        return False
    return _is_prime(order - 1) or _is_of_second_kind(order) or _is_constructible(order // 2)


def _is_of_second_kind(order: int) -> bool:
    return order % 8 == 4 and _is_prime(order // 2 - 1)  # so that the prime is 1 mod 4


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _bordered_residues(prime: int, below: int) -> Signs:
    """Return Jacobsthal's matrix of a prime with a row of ones above it and a column of `below` beside it."""
    squares = {value * value % prime for value in range(1, prime)}
    character = np.array([0, *(1 if value in squares else -1 for value in range(1, prime))], dtype=np.int8)
    differences = np.subtract.outer(np.arange(prime), np.arange(prime)) % prime
    bordered = np.zeros((prime + 1, prime + 1), dtype=np.int8)
    bordered[0, 1:], bordered[1:, 0], bordered[1:, 1:] = 1, below, character[differences]
    return bordered


def _paley_first(prime: int) -> Signs:
    return _bordered_residues(prime, -1) + np.eye(prime + 1, dtype=np.int8)


def _paley_second(prime: int) -> Signs:
    conference = _bordered_residues(prime, 1)
    identity = np.eye(prime + 1, dtype=np.int8)
    on, off = np.array([[1, 1], [1, -1]], dtype=np.int8), np.array([[1, -1], [-1, -1]], dtype=np.int8)
    return np.kron(conference, on) + np.kron(identity, off)
