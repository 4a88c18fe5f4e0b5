"""The whole of testum in one process: from settings to adapters to services."""

from testum.app.adapters import make_artifacts
from testum.app.composition import Testum
from testum.app.roles import Role

__all__ = ["Role", "Testum", "make_artifacts"]
