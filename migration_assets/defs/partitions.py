"""The weekly partitions: one for each complete week, labelled by its first day."""

import dagster as dg

from migration_assets.weeks import Weeks

_SATURDAY_OR_EARLIER = 7  # Python counts weekdays from Monday, cron and Dagster from Sunday


def weekly(weeks: Weeks) -> dg.WeeklyPartitionsDefinition:
    """Return the partitions; the hour belongs to the schedule, or the last week is cut off."""
    return dg.WeeklyPartitionsDefinition(
        start_date=weeks.first.isoformat(),
        end_date=weeks.end.isoformat(),  # exclusive
        timezone=weeks.timezone,
        day_offset=(weeks.first.weekday() + 1) % _SATURDAY_OR_EARLIER,
    )
