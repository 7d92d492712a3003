"""What Django sets up: the store that ``settings.LEADERLOCK_URL`` names is the whole process's."""

# pyright: basic
# Django has no types of its own.

from __future__ import annotations

import os

from django.apps import AppConfig
from django.conf import settings

__all__ = ["LeaderlockConfig"]


class LeaderlockConfig(AppConfig):  # type: ignore[misc]  # it has no types
    """Hands the setting on to whoever asks the environment: decorators without a client, and what is started here."""

    name = "leaderlock.integrations.django"

    def ready(self) -> None:
        """As Django asks for it."""
        if url := getattr(settings, "LEADERLOCK_URL", None):
            os.environ["LEADERLOCK_URL"] = url
