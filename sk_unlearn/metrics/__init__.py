"""Numbers that say how well rows were forgotten, each beside its null.

Plain functions on arrays: margins, probabilities or accuracies of unlearned and of retrained
models. Every function returns a `MetricResult`. None sees more than the rows that it is given: a
model that answers just the forgotten rows from a retrained net is betrayed by other rows only.
"""

from sk_unlearn.metrics._confusion import interclass_confusion
from sk_unlearn.metrics._divergence import prediction_divergence
from sk_unlearn.metrics._forgetting_quality import forgetting_quality
from sk_unlearn.metrics._klom import klom
from sk_unlearn.metrics._lira import u_lira
from sk_unlearn.metrics._margin import logit_margin
from sk_unlearn.metrics._membership import membership_attack
from sk_unlearn.metrics._parameters import parameter_distance
from sk_unlearn.metrics._relearn import relearn_time
from sk_unlearn.metrics._result import Interval, MetricResult
from sk_unlearn.metrics._rmia import rmia
from sk_unlearn.metrics._tug_of_war import tug_of_war

__all__ = [
    "Interval",
    "MetricResult",
    "forgetting_quality",
    "interclass_confusion",
    "klom",
    "logit_margin",
    "membership_attack",
    "parameter_distance",
    "prediction_divergence",
    "relearn_time",
    "rmia",
    "tug_of_war",
    "u_lira",
]
