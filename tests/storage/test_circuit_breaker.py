"""While a store is silent one caller waits, and nobody else."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.storage.circuit_breaker import CircuitBreaker


def test_what_fails_at_once_keeps_nobody_from_trying() -> None:
    working = CircuitBreaker()
    for _ in range(3):
        with pytest.raises(StorageError, match="full"), working.call():
            raise StorageError("full")


def test_after_a_silence_one_caller_tries_and_the_others_are_refused_until_it_is_answered() -> None:
    broken = CircuitBreaker(silence_seconds=0.0)
    with pytest.raises(StorageError, match="silent"), broken.call():
        raise StorageError("silent")
    inside, answered = threading.Event(), threading.Event()

    def probe() -> None:
        with broken.call():
            inside.set()
            answered.wait(30)

    with ThreadPoolExecutor(1) as thread:
        probing = thread.submit(probe)
        assert inside.wait(30)
        for _ in range(3):
            with pytest.raises(StorageError, match="does not answer"), broken.call():
                raise AssertionError("it was let through")
        answered.set()
        probing.result()
    with broken.call(), broken.call():
        pass


def test_an_answer_that_there_is_no_such_object_closes_it() -> None:
    broken = CircuitBreaker(silence_seconds=0.0)
    with pytest.raises(StorageError, match="silent"), broken.call():
        raise StorageError("silent")
    with pytest.raises(BlobNotFoundError), broken.call():
        raise BlobNotFoundError("explanations/one/image")
    with broken.call(), broken.call():  # the second call is refused while the breaker is open
        pass
