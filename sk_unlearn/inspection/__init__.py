"""Plots of how well rows were forgotten (extra "plot": matplotlib)."""

from sk_unlearn.inspection._comparison import ForgettingComparisonDisplay
from sk_unlearn.inspection._membership import MembershipDisplay

__all__ = ["ForgettingComparisonDisplay", "MembershipDisplay"]
