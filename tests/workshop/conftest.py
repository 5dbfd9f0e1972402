"""What the tests of the model workshop need of the machine."""

import pytest

from tests.workshop import missing


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Nets as small as these take longest to share out; beside other work, threads wait for each other's turns."""
    if missing("torch") is None:
        import torch

        torch.set_num_threads(1)
