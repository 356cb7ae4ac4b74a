"""What follows when the process of a container encoder ended badly: a refusal, or another try by Dagster."""

import dagster as dg

MAX_RETRIES = 3
RETRY_AFTER_S = 30


def judge_exit(title: str, exit_status: int, details: str) -> None:
    """Returns where a process ended well.

    Args:
        title: what the process did.
        exit_status: of the process.
        details: where a person finds out more.

    Raises:
        EncoderError: it failed for good.
        RetryRequested: it was interrupted, or asked to be run again.
    """
    from cellassets.encoders.container.outcome import outcome_of
    from cellassets.errors import EncoderError

    outcome = outcome_of(exit_status)
    message = f"{title}: the process ended with exit status {exit_status}; expected 0. {details}"
    if outcome == "failed":
        raise EncoderError(message)
    if outcome == "interrupted":
        raise try_again() from EncoderError(message)


def try_again() -> dg.RetryRequested:
    """Returns what asks Dagster to run the step again; the parts that are made are kept."""
    return dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_AFTER_S)
