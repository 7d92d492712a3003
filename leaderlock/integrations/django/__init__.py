"""Django: ``manage.py once_per_tick``, for who adds ``leaderlock.integrations.django`` to INSTALLED_APPS."""

__all__: list[str] = []
