"""The point-in-time join: for each example the newest values that were known at its time, never later ones.

It has the meaning of Feast's `get_historical_features` without a time to live, and a test holds both against each
other (Feast leaves out examples from before the first row of their entity, though; here they get missing values).
Training uses it because Feast's file store joins every example with all rows of its entity before it picks one: for a
year of flights and daily rows that is more than a hundred million rows.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

TIMESTAMP = "event_timestamp"


def join_as_of(
    examples: "pd.DataFrame", view: "pd.DataFrame", by: str, time: str, features: "Sequence[str]"
) -> "pd.DataFrame":
    """Add a view's features to examples, as they were known at each example's time.

    Args:
        examples: rows with the columns `by` and `time` (UTC).
        view: rows with `by`, `event_timestamp` (UTC) and the features.
        by: the entity's column.
        time: the column with the moment of the prediction. A row of exactly that moment counts as known.
        features: the columns to add; missing values where nothing was known.

    Returns:
        The examples in their order, with the features.
    """
    import numpy as np
    import pandas as pd

    left = examples[[by, time]].reset_index(drop=True)
    left[TIMESTAMP] = left.pop(time).astype("datetime64[ns, UTC]")
    left["position"] = np.arange(len(left))
    right = view[[by, TIMESTAMP, *features]].astype({TIMESTAMP: "datetime64[ns, UTC]"})
    joined = pd.merge_asof(
        left.sort_values(TIMESTAMP, kind="stable"),
        right.sort_values(TIMESTAMP, kind="stable"),
        on=TIMESTAMP,
        by=by,
        direction="backward",
    ).sort_values("position")
    return examples.assign(**{name: joined[name].to_numpy() for name in features})
