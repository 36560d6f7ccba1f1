"""What every metric returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float

    def __str__(self):
        return f"{self.low:.3g} to {self.high:.3g}"


@dataclass(frozen=True, eq=False)
class MetricResult:
    """A number, how sure it is, and what it is between retrained models.

    Attributes
    ----------
    metric : str
        What was measured, for example "KLoM p95".
    value : float
        Of the unlearned models. ``float(result)`` gives the same.
    interval : Interval or None
        Confidence interval of `value`, with fields ``low`` and ``high``. None where there are
        too few models to say.
    null : float or None
        The same statistic with retrained models in place of the unlearned ones: what a perfect
        removal would score. None where no retrained models were given.
    null_interval : Interval or None
        Confidence interval of `null`.
    confidence_level : float
        Of both intervals.
    per_row : ndarray of shape (n_rows,) or None
        The statistic of each row, where it is computed row by row.
    details : dict
        Further results by name: other quantiles or rates as `MetricResult`, sizes and settings
        as numbers.

    Examples
    --------
    >>> from sk_unlearn.metrics import Interval, MetricResult
    >>> result = MetricResult("KLoM p95", 0.5, Interval(0.4, 0.7), null=0.1)
    >>> print(result)
    KLoM p95: 0.5 (95 % interval 0.4 to 0.7), null 0.1
    >>> result.interval.high, float(result)
    (0.7, 0.5)
    """

    metric: str
    value: float
    interval: Interval | None = None
    null: float | None = None
    null_interval: Interval | None = None
    confidence_level: float = 0.95
    per_row: np.ndarray | None = field(default=None, repr=False)
    details: dict = field(default_factory=dict, repr=False)

    def __float__(self):
        return float(self.value)

    def __str__(self):
        level = f"{100 * self.confidence_level:g} % interval"
        text = f"{self.metric}: {self.value:.3g}"
        if self.interval is not None:
            text += f" ({level} {self.interval})"
        if self.null is not None:
            text += f", null {self.null:.3g}"
            if self.null_interval is not None:
                text += f" ({self.null_interval})"
        lines = [text]
        for name, value in self.details.items():
            if isinstance(value, MetricResult):
                lines += ["  " + line for line in str(value).splitlines()]
            elif not isinstance(value, np.ndarray):
                shown = f"{value:.4g}" if isinstance(value, float) else value
                lines.append(f"  {name}: {shown}")
        return "\n".join(lines)

    def to_dict(self):
        """Plain Python types only, ready for JSON; intervals become lists.

        Returns
        -------
        result : dict
            Keys are the attributes; `details` holds dicts where it held results.
        """
        return json.loads(json.dumps(self, default=_plain))


def _plain(value):
    if isinstance(value, MetricResult):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a result is not serialisable")
