"""scikit-learn's tags with the guarantee of a removal method."""

from dataclasses import dataclass, fields

from sklearn.utils import Tags

__all__ = ["ForgetTags"]


@dataclass
class ForgetTags(Tags):
    """Estimator tags that also say what ``forget`` promises.

    Attributes
    ----------
    guarantee : Guarantee or None
    """

    guarantee: object = None

    @classmethod
    def extend(cls, tags, guarantee):
        """Copy of scikit-learn's tags with the guarantee added."""
        inherited = {field.name: getattr(tags, field.name) for field in fields(Tags)}
        return cls(**inherited, guarantee=guarantee)
