"""The only code that knows skorch: default nets, data path, access to trained nets."""

from sk_unlearn.nets._adapter import rowwise_model, weight_decay, with_parameters
from sk_unlearn.nets._batches import ArrayDataset, TensorBatches, as_tensor
from sk_unlearn.nets._class_numbers import class_settings, n_outputs_inside
from sk_unlearn.nets._defaults import MLP, default_classifier, default_regressor
from sk_unlearn.nets._density import DensityNet, default_density, score_samples_each
from sk_unlearn.nets._differentiable import check_differentiable
from sk_unlearn.nets._inspect import (
    carries_training,
    check_trainable,
    check_untrained,
    contains_net,
    find_nets,
    is_net,
)
from sk_unlearn.nets._memory import fit_net_once, forget_trained_nets
from sk_unlearn.nets._outputs import as_columns, as_probabilities, check_class_outputs
from sk_unlearn.nets._predict import (
    predict_class_proba,
    predict_columns,
    predict_proba,
    predict_proba_each,
    predict_scores,
    to_tensors,
)
from sk_unlearn.nets._prepare import prepare
from sk_unlearn.nets._progress import show_progress
from sk_unlearn.nets._resume import net_state, resume_training
from sk_unlearn.nets._setup import TrainingSetup
from sk_unlearn.nets._split import (
    PinnedSplit,
    held_out_rows,
    pin_split,
    validation_readers,
)
from sk_unlearn.nets._state import NetState, initial_state, load_state, read_state
from sk_unlearn.nets._train import fit_net, recorded_training, training_by
from sk_unlearn.nets._transport import pack_nets, unpack_nets
from sk_unlearn.nets._validation_rows import (
    check_brought_data,
    check_disjoint,
    drop_idle_splits,
)
from sk_unlearn.nets.stacked import can_stack, train_nets, train_states
from sk_unlearn.utils._grid_scale import GridScale

__all__ = [
    "MLP",
    "ArrayDataset",
    "DensityNet",
    "GridScale",
    "NetState",
    "PinnedSplit",
    "TensorBatches",
    "TrainingSetup",
    "as_columns",
    "as_probabilities",
    "as_tensor",
    "can_stack",
    "carries_training",
    "check_brought_data",
    "check_class_outputs",
    "check_differentiable",
    "check_disjoint",
    "check_trainable",
    "check_untrained",
    "class_settings",
    "contains_net",
    "default_classifier",
    "default_density",
    "default_regressor",
    "drop_idle_splits",
    "find_nets",
    "fit_net",
    "fit_net_once",
    "forget_trained_nets",
    "held_out_rows",
    "initial_state",
    "is_net",
    "load_state",
    "n_outputs_inside",
    "net_state",
    "pack_nets",
    "pin_split",
    "predict_class_proba",
    "predict_columns",
    "predict_proba",
    "predict_proba_each",
    "predict_scores",
    "prepare",
    "read_state",
    "recorded_training",
    "resume_training",
    "rowwise_model",
    "score_samples_each",
    "show_progress",
    "to_tensors",
    "train_nets",
    "train_states",
    "training_by",
    "unpack_nets",
    "validation_readers",
    "weight_decay",
    "with_parameters",
]
