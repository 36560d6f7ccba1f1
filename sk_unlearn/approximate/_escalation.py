"""What follows on the advice to retrain: a warning, the retrain, or an error."""

from dataclasses import replace

from sk_unlearn.exceptions import RetrainAdvisedError
from sk_unlearn.receipts import ForgetCost, Guarantee

__all__ = ["drift_advice", "escalated", "may_retrain"]


def escalated(removal, on_advice, retrain, *, n_epochs):
    """A removal after its advice was followed.

    Parameters
    ----------
    removal : Removal
    on_advice : {"warn", "retrain", "raise"}
    retrain : callable
        Trains the net anew on the retained rows; returns their number and that of the epochs.
    n_epochs : int
        Of the training that was removed from.

    Returns
    -------
    removal : Removal
    """
    if not removal.advice or on_advice == "warn":
        return removal
    if on_advice == "raise":
        raise RetrainAdvisedError(
            " ".join(removal.advice) + " Nothing was forgotten, as on_advice='raise' asks for; "
            "on_advice='retrain' would retrain."
        )
    tried = removal.cost
    n_rows, epochs = retrain()
    cost = ForgetCost(
        tried.n_forgotten,
        n_rows,
        tried.gradient_passes + epochs * n_rows / (n_rows + tried.n_forgotten),
        1 + tried.share_of_retrain * n_epochs / max(1, epochs),
    )
    # what was tried is gone, and with it what it could have been warned of
    solver = {
        **(removal.solver or {"steps": []}),
        "retrained": {"because": list(removal.advice), "share_tried": tried.share_of_retrain},
    }
    return replace(
        removal, cost=cost, solver=solver, advice=(), remarks=(), guarantee=Guarantee("exact")
    )


def may_retrain(cost, on_advice):
    """A forecast that allows for a retrain where advice leads to one."""
    if on_advice != "retrain" or cost.share_high == 0:
        return cost
    return replace(cost, share_high=1 + cost.share_high)


def drift_advice(drift, max_drift, n_requests, retrain):
    """The advice where requests together have gone further than allowed; none where not."""
    if max_drift is None or drift <= max_drift:
        return ()
    requests = "this request" if n_requests == 1 else f"the {n_requests} requests since training"
    return (
        f"Retraining is advised: the expected gap of {requests} adds up to {drift:.3g}, and "
        f"max_drift={max_drift:g} allows no more. You can retrain on the rows that remain (fit "
        f"without the forgotten ones, or use {retrain}), or raise max_drift.",
    )
