"""Quality of forgetting against its cost."""

from sk_unlearn.inspection._style import COLOURS, GREY, new_axes

__all__ = ["ForgettingComparisonDisplay"]

# axis label, and whether a logarithmic axis suits
METRICS = {
    "klom_p95_forget": ("KLoM p95, forgotten rows", True),
    "klom_p95_retain": ("KLoM p95, retained rows", True),
    "klom_p95_held_out": ("KLoM p95, held-out rows", True),
    "klom_p50_forget": ("KLoM median, forgotten rows", True),
    "u_lira": ("U-LiRA balanced accuracy", False),
    "mia_auc": ("AUC of the loss attack", False),
    "tug_of_war": ("tug of war", False),
    "accuracy_held_out": ("accuracy, held-out rows", False),
}
COSTS = {
    "seconds_share": "time of a removal, share of a retrain",
    "share_of_retrain": "work of a removal, share of a retrain",
    "gradient_passes": "gradient passes over the rows",
}
HIGHER_IS_BETTER = {"tug_of_war", "accuracy_held_out"}
MARKERS = "osD^vPX*"


class ForgettingComparisonDisplay:
    """Quality against cost of the estimators of a comparison.

    Each forget set has its own axes. Estimators are points; those that no other beats in
    both are joined by the Pareto front. The band is what retrained models may show, the
    dotted line the control that did nothing, and the ring, at the cost of a retrain, the one
    that was retrained. Error bars are cut off where they leave the axes. It is recommended to use
    :meth:`from_results`.

    Parameters
    ----------
    records : list of dict
        Of a :class:`~sk_unlearn.model_selection.ForgettingComparison`.
    metric : str
    cost : str

    Attributes
    ----------
    ax_ : Axes or list of Axes
        One for each forget set.
    figure_ : Figure

    See Also
    --------
    sk_unlearn.model_selection.compare_forgetting : Makes the comparison.
    """

    def __init__(self, records, *, metric="klom_p95_forget", cost="seconds_share"):
        self.records = records
        self.metric = metric
        self.cost = cost

    @classmethod
    def from_results(
        cls,
        comparison,
        *,
        forget=None,
        metric="klom_p95_forget",
        cost="seconds_share",
        ax=None,
    ):
        """Plot a comparison.

        Parameters
        ----------
        comparison : ForgettingComparison
        forget : str or list of str, default=None
            Forget sets to show; all if None.
        metric : str, default="klom_p95_forget"
            A metric of the records.
        cost : {"seconds_share", "share_of_retrain", "gradient_passes"}, \
                default="seconds_share"
        ax : Axes or sequence of Axes, default=None
            One for each forget set; None makes a figure.

        Returns
        -------
        display : ForgettingComparisonDisplay

        Raises
        ------
        ValueError
            If a name is not in the comparison.
        """
        known = list(dict.fromkeys(record["forget"] for record in comparison.records))
        chosen = known if forget is None else [forget] if isinstance(forget, str) else list(forget)
        for name in chosen:
            if name not in known:
                raise ValueError(f"forget must be among {known}, got {name!r}.")
        records = [record for record in comparison.records if record["forget"] in chosen]
        measured = list(records[0]["metrics"])
        if metric not in measured:
            raise ValueError(f"metric must be one of {measured}, got {metric!r}.")
        if cost not in COSTS:
            raise ValueError(f"cost must be one of {list(COSTS)}, got {cost!r}.")
        return cls(records, metric=metric, cost=cost).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw.

        Parameters
        ----------
        ax : Axes or sequence of Axes, default=None

        Returns
        -------
        self : ForgettingComparisonDisplay
        """
        names = list(dict.fromkeys(record["forget"] for record in self.records))
        size = (max(4.8 * len(names), 5.5), 4.8)
        self.figure_, axes = new_axes(ax, len(names), figsize=size)
        for name, axis in zip(names, axes, strict=True):
            self._draw(axis, [r for r in self.records if r["forget"] == name])
            axis.set_title(f"forget: {name}")
        self.ax_ = axes[0] if len(axes) == 1 else axes
        return self

    def _draw(self, ax, records):
        label, logarithmic = METRICS.get(self.metric, (self.metric.replace("_", " "), False))
        several = len({record["training"] for record in records}) > 1
        colours = {
            training: COLOURS[i % len(COLOURS)] if several else GREY
            for i, training in enumerate(dict.fromkeys(r["training"] for r in records))
        }
        for record in records:
            entry, colour = record["metrics"][self.metric], colours[record["training"]]
            if record["control"] == "nothing":
                ax.axhline(entry["value"], color=colour, linestyle=":", label=record["estimator"])
            elif record["control"] == "retrained":
                self._null(ax, record, entry, colour, several)
        points = [record for record in records if not record["control"]]
        for i, record in enumerate(points):
            own = colours[record["training"]] if several else COLOURS[i % len(COLOURS)]
            self._point(ax, record, own, MARKERS[i % len(MARKERS)])
        front = self._front(points)
        if len(front) > 1:
            ax.plot(*zip(*front, strict=True), color=GREY, lw=1, zorder=1, label="Pareto front")
        self._scale(ax, records, logarithmic)
        ax.set(xlabel=COSTS[self.cost], ylabel=label)
        ax.grid(alpha=0.25, which="major")
        ax.legend(
            fontsize="small",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.18),
            ncols=2,
            frameon=False,
        )

    def _scale(self, ax, records, logarithmic):
        """Limits from the values alone: intervals of few models would fill the axes."""
        entries = [record["metrics"][self.metric] for record in records]
        values = [entry["value"] for entry in entries]
        values += [v for e in entries for v in (e["null_low"], e["null_high"]) if v is not None]
        costs = [record["cost"][self.cost] for record in records if record["cost"][self.cost]]
        costs += [1.0] * self._in_retrains
        low, high = min(values), max(values)
        if logarithmic and low > 0:
            ax.set_yscale("log")
            ax.set_ylim(low / 1.6, high * 1.6)
            ax.set_yticks(*_ticks(low / 1.6, high * 1.6, "{:.4g}"))
            ax.set_yticks([], minor=True)
        else:
            margin = 0.12 * (high - low) or 0.05
            ax.set_ylim(low - margin, high + margin)
        if costs:
            ax.set_xscale("log")
            limits = min(costs) / 1.8, max(costs) * 1.8
            ax.set_xlim(limits)
            ax.set_xticks(*_ticks(*limits, "{:.4g} %" if self._in_retrains else "{:.4g}"))
            ax.set_xticks([], minor=True)

    @property
    def _in_retrains(self):
        return self.cost != "gradient_passes"

    def _null(self, ax, record, entry, colour, several):
        if entry["null_low"] is not None:
            what = f"null ({record['training']})" if several else "null"
            ax.axhspan(
                entry["null_low"], entry["null_high"], color=colour, alpha=0.15, lw=0, label=what
            )
        style = {"color": colour, "label": record["estimator"]}
        if self._in_retrains:
            ax.plot(1.0, entry["value"], "o", mfc="none", ms=10, mew=1.5, **style)
        else:
            ax.axhline(entry["value"], linestyle="--", lw=1, **style)

    def _point(self, ax, record, colour, marker):
        entry, cost = record["metrics"][self.metric], record["cost"][self.cost]
        if cost is None or cost <= 0:
            return
        error = None
        if entry["low"] is not None:
            low, high = entry["value"] - entry["low"], entry["high"] - entry["value"]
            error = [[max(low, 0)], [max(high, 0)]]
        ax.errorbar(
            cost,
            entry["value"],
            yerr=error,
            fmt=marker,
            color=colour,
            markersize=8,
            ecolor=(colour, 0.35),
            elinewidth=1,
            capsize=3,
            label=f"{record['estimator']}: {record['verdict']}",
        )

    def _front(self, points):
        """Points that no other beats in cost and quality, from cheap to dear."""
        sign = -1 if self.metric in HIGHER_IS_BETTER else 1
        found = sorted(
            (record["cost"][self.cost], sign * record["metrics"][self.metric]["value"])
            for record in points
            if record["cost"][self.cost]
        )
        front = []
        for cost, value in found:
            if not front or value < front[-1][1]:
                front.append((cost, value))
        return [(cost, sign * value) for cost, value in front]


def _ticks(low, high, form):
    """Round numbers on a logarithmic axis, and how to write them."""
    steps = (1, 3) if high / low > 10 else (1, 2, 3, 5)
    ticks = [m * 10.0**e for e in range(-6, 19) for m in steps if low < m * 10.0**e < high]
    scale = 100 if "%" in form else 1
    return ticks, [form.format(scale * tick) for tick in ticks]
