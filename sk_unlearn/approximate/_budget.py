"""How much work one request may take."""

from dataclasses import dataclass

from torch import nn

from sk_unlearn.functional import DENSE_SCORES, Work

__all__ = ["A_DENSE_ROW", "MOST_WORK", "Budget", "affordable_rows", "most_work", "row_cost"]

# Of a retrain. A removal that takes longer is not worth its doubts.
MOST_WORK = 0.5
# Gradient passes over single rows that are never too many: they take milliseconds.
NEVER_TOO_MUCH = 2**11
# What a row that curvature is computed on costs in an attempt that compensates: in nets of linear
# layers, which are solved in the space of the rows, and in others; the share of compensation; and
# rows that curvature needs.
A_DENSE_ROW, A_ROW, COMPENSATING, LEAST_ROWS = 20, 36, 0.4, 128
# Products with the curvature that a solve may always take, so that something is removed.
LEAST_PRODUCTS = 5
# Solves of one attempt, at most, and gradient passes of a product over its rows: one for the
# product and one for the preconditioner.
SOLVES, PASSES = 3, 2


def most_work(n_epochs, n_trained):
    """Gradient passes over single rows that a request may take."""
    return max(MOST_WORK * n_epochs * n_trained, NEVER_TOO_MUCH)


def row_cost(module, n_scores):
    """Gradient passes over one row for each row that curvature is computed on, roughly."""
    of_layers = {
        id(parameter)
        for part in module.modules()
        if isinstance(part, nn.Linear)
        for parameter in part.parameters(recurse=False)
    }
    moved = [parameter for parameter in module.parameters() if parameter.requires_grad]
    dense = n_scores <= DENSE_SCORES and all(id(parameter) in of_layers for parameter in moved)
    return A_DENSE_ROW if dense else A_ROW


def affordable_rows(limit, cost):
    """Rows of such a cost that curvature can be computed on within a limit."""
    return max(LEAST_ROWS, int(limit / cost))


@dataclass
class Budget:
    """Gradient passes over one row that a request may take, and those that it has taken.

    Attributes
    ----------
    work : Work
    limit : float
    begun : float
        Those before the attempt that is on.
    """

    work: Work
    limit: float = float("inf")
    begun: float = 0.0

    @property
    def spent(self):
        """Passes so far."""
        return self.work.row_passes

    def begin(self):
        """From here on it is another attempt; what the last one took."""
        taken, self.begun = self.spent - self.begun, self.spent
        return taken

    def allows(self, row_passes):
        """Whether so much more stays within the limit."""
        return self.spent + row_passes <= self.limit

    def allows_compensation(self, n_rows, cost):
        """Whether two more solves with the curvature of so many rows stay within the limit."""
        return self.allows(COMPENSATING * cost * n_rows)

    def products(self, n_rows, most):
        """Products over so many rows that a solve may take, at most those asked for."""
        left = max(0.0, self.limit - self.spent)
        affordable = left / (SOLVES * PASSES * n_rows) if n_rows else most
        return int(min(most, max(LEAST_PRODUCTS, affordable)))
