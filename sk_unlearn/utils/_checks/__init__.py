"""The rules behind :mod:`sk_unlearn.utils.estimator_checks`, one file for each kind."""
