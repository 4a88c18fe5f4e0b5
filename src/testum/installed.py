"""The registry of all features, for the processes that serve and work; the command line does without, because it loads all
kinds of jobs."""

from testum.core.feature import Registry
from testum.features import FEATURES

INSTALLED = Registry(FEATURES)
