"""What a PUMA request costs, in gradient passes over the rows trained on."""

from sk_unlearn.receipts import ForgetCost

__all__ = ["puma_cost"]

FORWARD = 1 / 3  # of a gradient pass, as is usual


def puma_cost(
    products,
    *,
    n_hit,
    n_leaving,
    n_trained,
    n_held_out,
    n_sampled,
    n_candidates,
    max_epochs,
    n_measured=None,
    n_looked_at=0,
):
    """Count passes over rows.

    A product with the curvature counts as one gradient pass over its rows, and so does
    the application of the preconditioner that goes with it and a forward-mode pass.

    Parameters
    ----------
    products : list of int
        Products with the curvature in each step, or attempt at one.
    n_hit : int
        Rows that leave, those that were held out of training included.
    n_leaving : int
        Rows that the objective loses.
    n_trained, n_held_out : int
        Rows that remain, in training and out.
    n_sampled : int
        Rows on which curvature is computed.
    n_candidates : int
        Rows considered for compensation in each step.
    max_epochs : int
        Of the net's training, one gradient pass each.
    n_measured : int, default=None
        Rows that leave, by how often their losses were measured; None means once.
    n_looked_at : int, default=0
        Rows that nonlinearity was measured on, by how often.

    Returns
    -------
    cost : ForgetCost
    """
    n_steps = len(products)
    row_passes = 2 * sum(products) * n_sampled
    n_measured = n_leaving if n_measured is None else n_measured
    row_passes += (1 + 2 * FORWARD) * (n_measured + n_steps * n_held_out)
    row_passes += 3 * FORWARD * n_looked_at
    row_passes += n_steps * n_candidates
    if n_sampled < n_trained:
        row_passes += FORWARD * n_trained
    passes = row_passes / (n_trained + n_leaving)
    return ForgetCost(n_hit, 0, passes, passes / max_epochs)
