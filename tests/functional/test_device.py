"""Tensors made on the wrong device, found without a GPU.

The "meta" device has no data, and most operations refuse to mix it with the CPU (products of
matrices are an exception). What looks at values cannot run on it and is tested elsewhere.
"""

import pytest
import torch
from torch import nn

from sk_unlearn.functional import (
    GaussNewtonOperator,
    HessianOperator,
    RowwiseModel,
    directional_derivatives,
    losses_and_gradient,
    row_losses,
    weighted_gradient,
)
from sk_unlearn.functional._score_curvature import ScoreCurvature

PIECES = {
    "losses": lambda batch, v: row_losses(*batch, chunk_size=3),
    "losses, chunk by memory": lambda batch, v: row_losses(*batch),
    "gradient": lambda batch, v: weighted_gradient(*batch, chunk_size=3),
    "losses and gradient": lambda batch, v: torch.cat(losses_and_gradient(*batch, chunk_size=3)),
    "derivatives": lambda batch, v: directional_derivatives(*batch, v, chunk_size=3),
    "Gauss-Newton": lambda batch, v: GaussNewtonOperator(*batch, chunk_size=3).matvec(v),
    "Hessian": lambda batch, v: HessianOperator(*batch, chunk_size=3).matvec(v),
}


@pytest.fixture(name="batch")
def batch_fixture(monkeypatch):
    monkeypatch.setattr(ScoreCurvature, "_is_curved", lambda self: True)  # looks at values
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
        X, y = torch.zeros(7, 1, 4, 4), torch.zeros(7, dtype=torch.long)
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    return model, model.parameters(), X, y


@pytest.mark.parametrize("piece", PIECES)
def test_everything_stays_on_the_device_of_the_rows(piece, batch):
    v = torch.zeros(batch[0].n_parameters, device="meta")
    assert PIECES[piece](batch, v).device.type == "meta"


def test_a_tensor_of_another_device_is_found(batch):
    with pytest.raises(RuntimeError, match="device"):
        row_losses(batch[0], {k: torch.zeros(v.shape) for k, v in batch[1].items()}, *batch[2:])
