"""testum: run commands, scripts and procedures on any number of SSH hosts, without an agent."""

__version__ = "0.1.0"
