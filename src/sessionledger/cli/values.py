"""What the values of options mean: times and limits."""

import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from sessionledger.cli.context import UsageError
from sessionledger.domain.archive import ArchiveLimits
from sessionledger.domain.models import now

_AGE = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def time(option: str, text: str | None) -> datetime | None:
    """Read a time: an ISO 8601 date or time, or an age before now such as `7d`.

    A date is its midnight, and what names no time zone is UTC, so that a script means the same everywhere.

    Args:
        option: Its name, for the error.
        text: What was given; `None` stays `None`.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    try:
        if age := _AGE.fullmatch(text):
            return now() - timedelta(**{_UNITS[age[2]]: int(age[1])})
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        example = "2027-03-12, 2027-03-12T21:25+01:00 (without a zone it is UTC), or an age: 30m, 12h, 7d, 2w"
        raise UsageError(f"{option} must be a date or a time such as {example}") from None


def limits(allowed: tuple[str, ...]) -> ArchiveLimits:
    """Read what an archive may have, `NAME=NUMBER` each; what is not given has its default.

    Raises:
        UsageError: One has another form, or names no limit.
        InvalidInputError: A number is below 1 or beyond 2⁶³-1.
    """
    names = [each.name for each in fields(ArchiveLimits)]
    given: dict[str, int] = {}
    for each in allowed:
        name, _, number = each.partition("=")
        if name not in names or not re.fullmatch("[0-9]{1,19}", number):
            raise UsageError(f"--allow must be NAME=NUMBER with a name of {', '.join(names)}")
        given[name] = int(number)
    return ArchiveLimits(**given)
