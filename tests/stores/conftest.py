"""What a shared test asserts is shown when it fails."""

import pytest

pytest.register_assert_rewrite("tests.stores.sabotage")
