"""The one retry policy of the model boundary.

Repeats what cannot have had an effect: a refused connection, 429 and 5xx before the first byte of an
answer. A stream that broke midway is never repeated here. Ctrl-C passes at once, also while waiting.
"""

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential_jitter,
)

from model.errors import Overloaded, Unreachable


def policy(attempts: int = 5, total_s: float = 120.0, ceiling_s: float = 15.0) -> Retrying:
    """Attempts with exponential waits of at most `ceiling_s`; the last error is raised as it is."""
    backoff = wait_exponential_jitter(multiplier=0.25, max=ceiling_s, jitter=0.25)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        wished = error.retry_after if isinstance(error, Overloaded) else 0.0
        return min(ceiling_s, max(wished, backoff(state)))

    return Retrying(
        stop=stop_after_attempt(attempts) | stop_after_delay(total_s),
        wait=wait,
        retry=retry_if_exception_type((Unreachable, Overloaded)),
        reraise=True,
    )
