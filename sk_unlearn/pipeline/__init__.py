"""Pipelines that forget in every step."""

from sk_unlearn.pipeline._make import make_forget_pipeline
from sk_unlearn.pipeline._pipeline import ForgetPipeline
from sk_unlearn.pipeline._residual import residual_steps

__all__ = ["ForgetPipeline", "make_forget_pipeline", "residual_steps"]
