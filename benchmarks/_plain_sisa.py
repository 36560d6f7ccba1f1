"""SISA as one writes it after its paper: the rival of SisaClassifier in the same run.

One model after another, in plain PyTorch loops; after each slice the weights go to a file of
``torch.save``; a request goes on from the file before the earliest slice that it hits. As in
the code of its authors [1]_, step r passes over slices 1 to r, the epochs of all steps add up to
the work of a plain training, and files hold weights only, so that the optimiser starts anew
after a request. Unlike there, rows are in memory and batches are shuffled.

Nothing of the package is used. What it leaves out, the package adds: an answer that equals a
fresh fit bit for bit (here draws go on from one generator), requests that are all or nothing,
ids, receipts, no trace of the rows that left in memory (here ``X`` stays as it was).

.. [1] L. Bourtoule et al., "Machine Unlearning", IEEE Symposium on Security and Privacy 2021.
   https://github.com/cleverhans-lab/machine-unlearning
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn


class PlainSisa:
    """Shards of slices, trained one by one.

    Parameters
    ----------
    make_module : callable
        Returns a new module with logits as output.
    make_optimizer : callable
        Of its parameters.
    n_shards, n_slices, epochs, batch_size : int
    folder : path-like
        Of the checkpoints; it exists.
    seed : int, default=0

    Attributes
    ----------
    row_passes_ : int
        Rows times epochs of the last ``fit`` or ``forget``.
    all_row_passes_ : int
        The same of the last ``fit``.
    """

    def __init__(
        self,
        make_module,
        make_optimizer,
        *,
        n_shards,
        n_slices,
        epochs,
        batch_size,
        folder,
        seed=0,
    ):
        self.make_module = make_module
        self.make_optimizer = make_optimizer
        self.n_shards = n_shards
        self.n_slices = n_slices
        self.batch_size = batch_size
        self.folder = Path(folder)
        self.seed = seed
        whole = 2 * epochs / (n_slices + 1)  # of a slice, as slice r trains on r of R parts
        self.epochs = [int((r + 1) * whole) - int(r * whole) for r in range(n_slices)]

    def fit(self, X, y):
        """Train all shards; X float32 of shape (n, d), y int64 of shape (n,)."""
        torch.manual_seed(self.seed)
        self.X_, self.y_ = torch.from_numpy(X), torch.from_numpy(y)
        order = np.random.default_rng(self.seed).permutation(len(X))
        self.slices_ = [
            np.array_split(shard, self.n_slices) for shard in np.array_split(order, self.n_shards)
        ]
        self.row_passes_ = 0
        self.modules_ = [self._train(shard, 0) for shard in range(self.n_shards)]
        self.all_row_passes_ = self.row_passes_
        return self

    def forget(self, rows):
        """Train the shards of these rows again, from the slice that they are in."""
        self.row_passes_ = 0
        for shard, slices in enumerate(self.slices_):
            hit = [r for r, members in enumerate(slices) if np.isin(rows, members).any()]
            if hit:
                self.slices_[shard] = [members[~np.isin(members, rows)] for members in slices]
                self.modules_[shard] = self._train(shard, hit[0])
        return self

    def predict(self, X):
        """Class of the largest mean probability."""
        rows = torch.from_numpy(X)
        with torch.no_grad():
            probabilities = [torch.softmax(module(rows), 1) for module in self.modules_]
        return torch.stack(probabilities).mean(0).argmax(1).numpy()

    def score(self, X, y):
        """Accuracy."""
        return float((self.predict(X) == y).mean())

    def _train(self, shard, start):
        """Train one shard from the checkpoint before slice ``start``."""
        module, loss = self.make_module(), nn.CrossEntropyLoss()
        if start:
            module.load_state_dict(torch.load(self._file(shard, start - 1)))
        optimizer = self.make_optimizer(module.parameters())
        for r in range(start, self.n_slices):
            rows = torch.from_numpy(np.concatenate(self.slices_[shard][: r + 1]))
            for _ in range(self.epochs[r]):
                for batch in rows[torch.randperm(len(rows))].split(self.batch_size):
                    optimizer.zero_grad()
                    loss(module(self.X_[batch]), self.y_[batch]).backward()
                    optimizer.step()
            self.row_passes_ += self.epochs[r] * len(rows)
            torch.save(module.state_dict(), self._file(shard, r))
        return module

    def _file(self, shard, r):
        return self.folder / f"shard-{shard}-slice-{r}.pt"
