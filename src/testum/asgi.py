"""The web process: `uvicorn --factory testum.asgi:create_app`, which is what `testum serve` runs."""

from fastapi import FastAPI

from testum.installed import INSTALLED
from testum.settings import load_settings
from testum.web.factory import build


def create_app() -> FastAPI:
    """The application, configured from the environment."""
    return build(load_settings(), INSTALLED)
