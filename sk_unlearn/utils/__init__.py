"""Validation, seeding, the training-set store and public estimator checks."""
