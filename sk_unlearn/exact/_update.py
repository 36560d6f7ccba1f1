"""What has to be trained so that an ensemble has seen the kept rows and no others."""

import os
from dataclasses import dataclass

from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from sk_unlearn.exact._chain import train_chain, train_chain_for
from sk_unlearn.exact._stacks import train_side_by_side
from sk_unlearn.nets import unpack_nets
from sk_unlearn.receipts import ForgetCost
from sk_unlearn.utils._take import take_rows

__all__ = ["Update"]


@dataclass(frozen=True)
class Update:
    """Chains that stay, and those that are trained again, by name.

    Attributes
    ----------
    chains : dict of Chain
        All that still have rows, as they were.
    plans : dict of Plan
        Of those that have to be trained.
    starts : dict of Restart
        Where each of these goes on.
    """

    chains: dict
    plans: dict
    starts: dict

    @property
    def saves(self):
        """Whether training saves states: those after all steps but the last."""
        return any(len(steps) > 1 for steps in self._redone())

    def train(self, X, store, *, n_jobs=None, verbose=0):
        """Train what is pending.

        Parameters
        ----------
        X : array-like of n_rows rows
            Of the ensemble.
        store : store
        n_jobs : int, default=None
            Chains, or stacks of chains, at a time.
        verbose : int, default=0

        Returns
        -------
        chains : dict of Chain
            All that have rows, sorted by name.
        """
        groups = {}
        for name, plan in self.plans.items():
            groups.setdefault(plan.learner.stack, {})[name] = plan
        total = sum(map(len, self._redone()))
        options = {"desc": "training", "unit": "step", "leave": False}
        chains = dict(self.chains)
        with tqdm(total=total, disable=not verbose, **options) as bar:
            for stack, plans in groups.items():
                if stack is None:
                    chains.update(self._train_alone(plans, X, store, n_jobs, bar))
                    continue
                at_once = {"n_jobs": n_jobs, "progress": bar.update}
                chains.update(train_side_by_side(plans, self.starts, X, store, **at_once))
        return dict(sorted(chains.items()))

    def _train_alone(self, plans, X, store, n_jobs, bar):
        here = os.getpid()
        if len(plans) == 1 and effective_n_jobs(n_jobs) == 1:  # what most requests are
            ((name, plan),) = plans.items()
            start = self.starts[name]
            yield name, train_chain(plan, take_rows(X, plan.order), start, store)
            bar.update(len(plan.steps) - start.n_done)
            return
        jobs = (
            delayed(train_chain_for)(
                here, plan, take_rows(X, plan.order), self.starts[name], store
            )
            for name, plan in plans.items()
        )
        trained = Parallel(n_jobs, return_as="list" if bar.disable else "generator")(jobs)
        for (name, plan), chain in zip(plans.items(), trained, strict=True):
            yield name, unpack_nets(chain) if isinstance(chain, bytes) else chain
            bar.update(len(plan.steps) - self.starts[name].n_done)

    def _redone(self):
        """Steps to be trained, chain by chain."""
        return [plan.steps[self.starts[name].n_done :] for name, plan in self.plans.items()]

    def cost(self, keep):
        """Work of the training, also in units of the whole ensemble's after it.

        Parameters
        ----------
        keep : ndarray of shape (n_rows,), bool
            Rows that stay.

        Returns
        -------
        cost : ForgetCost
        """
        steps = {name: chain.steps for name, chain in self.chains.items()}
        steps.update({name: plan.steps for name, plan in self.plans.items()})
        redone = self._redone()
        total = sum(step.work for chain in steps.values() for step in chain)
        work = sum(step.work for chain in redone for step in chain)
        n_rows = sum(chain[-1].stop - min(step.start for step in chain) for chain in redone)
        by_gradient = all(plan.learner.counts_gradients for plan in self.plans.values())
        return ForgetCost(
            n_forgotten=int((~keep).sum()),
            rows_retrained=n_rows,
            gradient_passes=work / len(keep) if by_gradient else float("nan"),
            share_of_retrain=work / total,
        )

    @property
    def solver(self):
        """What a receipt says of the training."""
        starts = self.starts.values()
        return {
            "models_retrained": len(self.plans),
            "steps_retrained": sum(map(len, self._redone())),
            "checkpoints_used": sum(start.n_done > 0 for start in starts),
            "checkpoints_lost": sum(start.n_lost for start in starts),
        }
