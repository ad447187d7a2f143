"""Five cron fields as EventBridge Scheduler writes them: six, with `?` for one of the two kinds of day."""

from __future__ import annotations

from collections.abc import Sequence

from croniter import croniter

_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def expression(cron: str) -> str:
    """Return a schedule expression of AWS for five cron fields (minute hour day month weekday).

    Source of the form: EventBridge Scheduler user guide, "Schedule types". Every value is listed by itself, since steps
    and weekdays are counted differently there.

    Raises:
        ValueError: it is no cron, or names days of the month and of the week: cron takes either, AWS can say only one.
    """
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise ValueError(f"{cron!r} is not five cron fields (minute hour day month weekday), such as 30 3 * * 1")
    minute, hour, day, month, weekday = croniter(cron).expanded[:5]
    if "l" in day or any("l" in str(one) or "#" in str(one) for one in weekday):
        raise ValueError(f"{cron!r}: the last day of a month cannot be said to EventBridge from here; name the days")
    if day != ["*"] and weekday != ["*"]:
        raise ValueError(
            f"{cron!r} names days of the month and of the week; EventBridge takes one of both: put * in one of them"
        )
    days, weekdays = (
        (_listed(day), "?") if weekday == ["*"] else ("?", ",".join(_DAYS[int(one) % 7] for one in weekday))
    )
    return f"cron({_listed(minute)} {_listed(hour)} {days} {_listed(month)} {weekdays} *)"


def _listed(values: Sequence[int | str]) -> str:
    return ",".join(map(str, values))
