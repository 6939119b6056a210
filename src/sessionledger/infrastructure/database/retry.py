"""The retry: a whole unit of work again, while the database is busy or away."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sessionledger.domain.errors import CommitOutcomeUnknownError, StorageError
from sessionledger.infrastructure import telemetry

if TYPE_CHECKING:
    import tenacity

log = logging.getLogger(__name__)
# Where nobody has set up logging, Python would print our warnings on standard error, beside a command's own line.
logging.getLogger("sessionledger").addHandler(logging.NullHandler())

F = TypeVar("F", bound=Callable[..., Any])


class _Attempt:
    """An attempt that failed, as a line of the log tells it: ids and the database's code, and nothing else."""

    def __init__(self, state: tenacity.RetryCallState, began: float) -> None:
        self.error = cast("StorageError", state.outcome and state.outcome.exception())
        self.number = state.attempt_number
        self.seconds = (state.outcome_timestamp or began) - began

    def __str__(self) -> str:
        ids = ", ".join(self.error.ids[:3]) + (" …" if len(self.error.ids) > 3 else "")
        return (
            f"Attempt {self.number} failed after {self.seconds:.3f} s: {type(self.error).__name__}, "
            f"code {self.error.code}, {len(self.error.ids)} id(s) {ids or '-'}"
        )


def _again(executor: Any, began: float) -> Any:
    """Retries for a method whose first attempt, begun at a time of the monotonic clock, has failed."""
    import tenacity  # which most processes never need

    def gave_up(state: tenacity.RetryCallState) -> bool:
        attempt = _Attempt(state, began)
        if attempt.seconds < executor.retry_seconds:
            return False
        log.warning("%s; gave up", attempt)
        return True

    def log_retry(state: tenacity.RetryCallState) -> None:
        # One line an attempt: a busy database is nothing unusual, an outcome that is not known is.
        attempt = _Attempt(state, began)
        unknown = isinstance(attempt.error, CommitOutcomeUnknownError)
        log.log(logging.WARNING if unknown else logging.INFO, "%s; trying again", attempt)
        telemetry.retried(executor.dialect.system, attempt.error)

    return tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, StorageError) and error.retryable),
        stop=gave_up,
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
        before_sleep=log_retry,
        reraise=True,
    )


def database_retry(method: F) -> F:
    """Run a whole unit of work again, on a fresh connection, while the database is busy or away.

    It decides by type, and so by the database's code, never by text. It decorates plain and `async def` methods of an
    object with `retry_seconds` and `dialect`. Around a repository method it could not work: PostgreSQL refuses every
    further statement of a failed transaction (`InFailedSqlTransaction`).

    The first attempt is made without tenacity, whose wrapper takes 20 µs a call (measured), a tenth of an append.
    """

    @functools.wraps(method)
    def called(executor: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        failed = []
        try:
            return method(executor, *arguments)
        except StorageError as error:
            if not error.retryable:
                raise
            failed.append(error)

        def attempt() -> Any:
            if failed:  # the one that was made already
                raise failed.pop()
            return method(executor, *arguments)

        return _again(executor, began)(attempt)()

    @functools.wraps(method)
    async def awaited(executor: Any, *arguments: Any) -> Any:
        began = time.monotonic()
        failed = []
        try:
            return await method(executor, *arguments)
        except StorageError as error:
            if not error.retryable:
                raise
            failed.append(error)

        async def attempt() -> Any:
            if failed:
                raise failed.pop()
            return await method(executor, *arguments)

        return await _again(executor, began)(attempt)()

    return cast("F", awaited if inspect.iscoroutinefunction(method) else called)
