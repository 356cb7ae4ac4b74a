"""Work that threads do ahead of its consumer: in order, with a bounded number of waiting results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[ItemT], ResultT], items: Iterable[ItemT], *, n_ahead: int
) -> Iterator[tuple[ItemT, ResultT]]:
    """Yields each item with its result, in the order of `items`.

    Args:
        pool: threads that do the work.
        work: function of one item.
        items: the items; they are consumed as results are taken.
        n_ahead: largest number of results that wait for the consumer.
    """
    waiting: deque[tuple[ItemT, Future[ResultT]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > n_ahead:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
