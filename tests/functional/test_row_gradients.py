import pytest
import torch
from torch import nn

from sk_unlearn.functional import RowwiseModel, directional_derivatives, weighted_gradient
from sk_unlearn.functional._layers import find_layers
from sk_unlearn.functional._row_gradients import RowGradients

CASES = ["cross_entropy", "bce", "mse", "probabilities", "linear"]
WEIGHTS = torch.tensor([1.0, 0.0, -2.0, 0.5, 0.0, 3.0, 1.0], dtype=torch.float64)


def direction(model):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(model.n_parameters, generator=generator, dtype=torch.float64)


def recorded(rows):
    layers, rest = find_layers(*rows[:3])
    assert not rest
    return RowGradients.record(*rows[:2], layers, *rows[2:])


@pytest.mark.parametrize("case", CASES)
def test_products_are_those_of_passes_through_the_net(make, case):
    rows = make(case)
    v, gradients = direction(rows[0]), recorded(rows)
    torch.testing.assert_close(gradients.dot(v), directional_derivatives(*rows, v))
    torch.testing.assert_close(gradients.combine(WEIGHTS), weighted_gradient(*rows, WEIGHTS))


@pytest.mark.parametrize("active", [("2.weight",), ("0.weight", "2.bias", "2.weight")])
def test_subset_of_parameters_in_any_order(make, active):
    rows = make("cross_entropy", active=active)
    v, gradients = direction(rows[0]), recorded(rows)
    torch.testing.assert_close(gradients.dot(v), directional_derivatives(*rows, v))
    torch.testing.assert_close(gradients.combine(WEIGHTS), weighted_gradient(*rows, WEIGHTS))


def test_no_weight_gives_zeros(make):
    rows = make("cross_entropy")
    assert not recorded(rows).combine(torch.zeros(len(rows[2]))).any()


def test_layers_with_several_positions_are_left_to_others():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 3)).eval()
    model = RowwiseModel(net, nn.CrossEntropyLoss(reduction="none"))
    X, y = torch.ones(4, 1, 3, 3), torch.tensor([0, 1, 2, 0])
    layers, _ = find_layers(model, model.parameters(), X)
    assert RowGradients.record(model, model.parameters(), layers, X, y) is None


def test_losses_that_do_not_depend_on_the_scores_are_left_to_others():
    with torch.random.fork_rng():
        net = nn.Linear(2, 3).eval()
    model = RowwiseModel(net, lambda scores, y: y)
    X, y = torch.ones(4, 2), torch.ones(4)
    layers, _ = find_layers(model, model.parameters(), X)
    assert RowGradients.record(model, model.parameters(), layers, X, y) is None
