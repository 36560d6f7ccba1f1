"""What ``compare_forgetting`` returns."""

import json
from pathlib import Path

from sklearn.utils import Bunch

from sk_unlearn.model_selection._table import text_of
from sk_unlearn.utils._optional import import_optional

__all__ = ["ForgettingComparison"]


class ForgettingComparison(Bunch):
    """Outcome of :func:`compare_forgetting`; prints as a table.

    Attributes
    ----------
    records : list of dict
        One for each forget set and estimator, controls included: "forget", "estimator",
        "control" ("nothing", "retrained" or None), "training", "verdict", "failed" (metrics),
        "trace_left" (KLoM p95 on forgotten rows above its null, as a share of what doing
        nothing shows), "metrics" and "cost". Plain Python values.
    notes : list of str
        What to know before believing the verdicts.
    settings : dict
        Numbers of models and rows.
    per_model : dict of (str, str) to Models
        By forget set and estimator: ``margins``, a dict with keys "forget", "retain" and
        "held_out" of arrays of shape (n_models, n_rows), and ``accuracy``, of shape
        (n_models, 3). Not part of the JSON.
    forget_sets : dict of str to ndarray of int
        Rows of `X`, by name. Not part of the JSON.
    held_out : ndarray of int
        Rows that nothing was trained on. Not part of the JSON.

    See Also
    --------
    sk_unlearn.inspection.ForgettingComparisonDisplay : Its plot.
    """

    @property
    def results(self):
        """One row for each forget set, estimator and metric (extra "plot").

        Returns
        -------
        results : DataFrame
            Columns "forget", "estimator", "control", "metric", "value", "low", "high",
            "null", "null_low", "null_high", "passes" and "verdict". Costs are metrics
            without a null.
        """
        pd = import_optional("pandas", extra="plot", needed_for="A table of a comparison")

        empty = dict.fromkeys(("low", "high", "null", "null_low", "null_high", "passes"))
        rows = []
        for record in self.records:
            head = {key: record[key] for key in ("forget", "estimator", "control")}
            numbers = {"trace_left": record["trace_left"], **record["cost"]}
            entries = record["metrics"] | {
                name: {"value": value, **empty} for name, value in numbers.items()
            }
            rows += [
                {**head, "metric": name, **entry, "verdict": record["verdict"]}
                for name, entry in entries.items()
            ]
        table = pd.DataFrame(rows)
        numeric = ["value", "low", "high", "null", "null_low", "null_high"]
        return table.astype(dict.fromkeys(numeric, float))

    @property
    def summary(self):
        """One row for each forget set and estimator (extra "plot").

        Returns
        -------
        summary : DataFrame
            Indexed by forget set and estimator; values, costs and the verdict in columns.
        """
        pd = import_optional("pandas", extra="plot", needed_for="A table of a comparison")

        rows = [
            {
                "forget": record["forget"],
                "estimator": record["estimator"],
                **{name: entry["value"] for name, entry in record["metrics"].items()},
                "trace_left": record["trace_left"],
                **record["cost"],
                "verdict": record["verdict"],
            }
            for record in self.records
        ]
        return pd.DataFrame(rows).set_index(["forget", "estimator"])

    def plot(self, **options):
        """Quality against cost.

        Parameters
        ----------
        **options : dict
            Passed to ``ForgettingComparisonDisplay.from_results``.

        Returns
        -------
        display : ForgettingComparisonDisplay
        """
        from sk_unlearn.inspection import ForgettingComparisonDisplay

        return ForgettingComparisonDisplay.from_results(self, **options)

    def to_json(self, path=None, **options):
        """Records, notes and settings as JSON.

        Parameters
        ----------
        path : str or path-like, default=None
            File to write.
        **options : dict
            Of :func:`json.dumps`.

        Returns
        -------
        text : str
        """
        content = {name: self[name] for name in ("records", "notes", "settings")}
        text = json.dumps(content, allow_nan=False, **{"indent": 2, **options})
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text

    @classmethod
    def from_json(cls, source):
        """Comparison from what :meth:`to_json` wrote.

        Parameters
        ----------
        source : str or path-like
            Path of a file.

        Returns
        -------
        comparison : ForgettingComparison
            Without ``per_model``, ``forget_sets`` and ``held_out``.
        """
        return cls(**json.loads(Path(source).read_text(encoding="utf-8")))

    def __str__(self):
        return text_of(self)

    __repr__ = __str__
