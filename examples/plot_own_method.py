"""
Write your own removal method
=============================

NegGrad+ (Kurmanji et al., NeurIPS 2023) descends on the loss of the rows that stay and ascends on
the loss of those that leave. It is one class with two hooks: training, held-out rows, requests,
receipts, pipelines and searches come from the base.
"""

# %%
# The method
# ----------
# ``_remove`` gets the trained net, which it must not change, and the request. It returns the new
# parameters by name, and what it took. ``_row_passes`` says beforehand what it will take.

from copy import deepcopy
from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval

from sk_unlearn.approximate import BaseNetForget, NetClassifierMixin
from sk_unlearn.base import Removal


class NegGradClassifier(NetClassifierMixin, BaseNetForget):
    """Descend on the rows that stay, ascend on those that leave."""

    _parameter_constraints = {
        **BaseNetForget._parameter_constraints,
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
    }
    # what the net does not depend on: estimators that differ in these share a training
    _removal_params = BaseNetForget._removal_params | {"alpha", "n_epochs"}

    def __init__(
        self,
        estimator=None,
        *,
        alpha=0.95,
        n_epochs=1,
        validation_fraction=0.1,
        on_advice="warn",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            estimator,
            validation_fraction=validation_fraction,
            on_advice=on_advice,
            random_state=random_state,
            verbose=verbose,
        )
        self.alpha = alpha
        self.n_epochs = n_epochs

    def _remove(self, net, request):
        net, forgotten = deepcopy(net), request.forgotten
        net.initialize_optimizer()
        net.module_.train()
        for _ in range(self.n_epochs):
            for kept in request.batches(net.batch_size):
                out = forgotten.take(torch.randint(len(forgotten), (len(kept),)))
                loss = self.alpha * net.get_loss(net.infer(kept.X), kept.y)
                loss = loss - (1 - self.alpha) * net.get_loss(net.infer(out.X), out.y)
                net.optimizer_.zero_grad()
                loss.backward()
                net.optimizer_.step()
        row_passes = self._row_passes(len(forgotten), request.n_retained)
        return net.module_.state_dict(), Removal(request.cost(row_passes))

    def _row_passes(self, n_forgotten, n_retained):
        return 2 * self.n_epochs * n_retained


# %%
# Its tests
# ---------
# scikit-learn's checks, and ours: nothing of a forgotten row is left in the estimator, a failure
# or an interrupt changes nothing, any form of a request does, and so on. In a test suite these are
# ``parametrize_with_checks`` and ``parametrize_with_forget_checks``.

from sklearn.utils.estimator_checks import check_estimator

from sk_unlearn.utils.estimator_checks import check_forget_estimator

results = check_estimator(NegGradClassifier(random_state=0), on_fail=None, on_skip=None)
print({status: sum(r["status"] == status for r in results) for status in ("passed", "failed")})
check_forget_estimator(NegGradClassifier(random_state=0))

# %%
# In use
# ------
# The receipt says what was done and what it took.

from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")[:1000]
y = y[:1000]

clf = NegGradClassifier(random_state=0).fit(X, y)
print(clf.forget_cost(range(20)))
print(clf.forget(range(20)).receipts_[-1])

# %%
# Does it forget?
# ---------------
# A comparison trains one set of nets for all methods that start from the same net, makes each
# forget, and measures against retrained nets and against nets that did nothing.

import matplotlib.pyplot as plt

from sk_unlearn import PumaClassifier
from sk_unlearn.model_selection import compare_forgetting

comparison = compare_forgetting(
    {
        "NegGrad+": NegGradClassifier(),
        "NegGrad+, alpha=0.8": NegGradClassifier(alpha=0.8),
        "PUMA": PumaClassifier(),
    },
    X,
    y,
    forget="random",
    forget_size=0.02,
    n_models=8,
    metrics=("klom", "tug_of_war"),
    random_state=0,
)
print(comparison)
comparison.plot()
plt.show()
