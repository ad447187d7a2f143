"""Five cron fields as those write them who start runs: EventBridge Scheduler, and Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from croniter import croniter

_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def expression(cron: str) -> str:
    """Return a schedule expression of AWS for five cron fields: six, with `?` for one of the two kinds of day.

    Source of the form: EventBridge Scheduler user guide, "Schedule types". Every value is listed by itself, since steps
    and weekdays are counted differently there.

    Raises:
        ValueError: it is no cron, or names days of the month and of the week: cron takes either, AWS can say only one.
    """
    minute, hour, day, month, weekday = _expanded(cron)
    if day != ["*"] and weekday != ["*"]:
        raise ValueError(
            f"{cron!r} names days of the month and of the week; EventBridge takes one of both: put * in one of them"
        )
    days, weekdays = (
        (_listed(day), "?") if weekday == ["*"] else ("?", ",".join(_DAYS[int(one) % 7] for one in weekday))
    )
    return f"cron({_listed(minute)} {_listed(hour)} {days} {_listed(month)} {weekdays} *)"


def standard(cron: str) -> str:
    """Return the schedule of a CronJob of Kubernetes for five cron fields.

    Its cron (robfig/cron, "standard") knows no weekday 7, so that every value is listed by itself.

    Raises:
        ValueError: it is no cron, or names the last days of months.
    """
    *fields, weekday = _expanded(cron)
    days = sorted({int(one) % 7 for one in weekday}) if weekday != ["*"] else weekday
    return " ".join(_listed(one) for one in (*fields, days))


def _expanded(cron: str) -> Sequence[Sequence[int | str]]:
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise ValueError(f"{cron!r} is not five cron fields (minute hour day month weekday), such as 30 3 * * 1")
    minute, hour, day, month, weekday = croniter(cron).expanded[:5]
    if "l" in day or any("l" in str(one) or "#" in str(one) for one in weekday):
        raise ValueError(f"{cron!r}: the last day of a month is not known to what starts runs; name the days")
    return minute, hour, day, month, weekday


def _listed(values: Sequence[int | str]) -> str:
    return ",".join(map(str, values))
