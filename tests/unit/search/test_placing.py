"""Which workers can serve a study, and what is said when none can."""

from __future__ import annotations

import pytest

from search.definition import Resources
from search.placing import Offer, lacks
from store.messages import PROTOCOL

SMALL = {"pool": "default", "gpus": "0", "memory": str(4 * 2**30), "state": "busy", "protocol": str(PROTOCOL)}
LARGE = SMALL | {"memory": str(16 * 2**30)}
GPU = {"pool": "default", "gpus": "1", "memory": "", "state": "idle", "protocol": str(PROTOCOL)}
PAIR = GPU | {"gpus": "2"}


@pytest.mark.parametrize(
    ("resources", "servers"),
    [
        ({}, [SMALL, LARGE]),
        ({"memory": "8GiB"}, [LARGE]),
        ({"gpus": 1, "memory": "8GiB"}, [GPU]),  # it does not say what it has
        ({"gpus": 2}, [PAIR]),  # two single ones do not make a pair
        ({"gpus": 4}, []),
        ({"processes": 2}, [SMALL, LARGE]),
        ({"pool": "other"}, []),
        ({"memory": "32GiB"}, []),
    ],
)
def test_a_worker_serves_its_pool_its_kind_and_what_fits(resources: dict[str, object], servers: list[object]) -> None:
    needs = Resources.model_validate(resources)
    others = [LARGE | {"state": "draining"}, LARGE | {"protocol": str(PROTOCOL + 1)}]
    workers = [SMALL, LARGE, GPU, PAIR, *others]

    assert [worker for worker in workers if Offer.of(worker).serves(needs)] == servers
    assert (lacks(needs, map(Offer.of, workers)) is None) == bool(servers)


def test_what_is_lacking_is_said_beside_what_there_is() -> None:
    needs = Resources.model_validate({"memory": "8GiB", "gpus": 0})

    assert lacks(needs, map(Offer.of, [SMALL, SMALL, GPU])) == (
        "no live worker can serve it: it needs one of the pool 'default' without a GPU and 8.0GiB of memory a slot; "
        "live are 1 of the pool 'default' with a GPU, 2 of the pool 'default' without a GPU (4.0GiB a slot)"
    )
    old = {name: value for name, value in LARGE.items() if name != "protocol"}
    assert lacks(needs, [Offer.of(old)]).endswith(  # type: ignore[union-attr]
        "; live are 1 of the pool 'default' without a GPU (16.0GiB a slot), of another version than the scheduler's"
    )
    assert lacks(needs, []).endswith("; no worker is live")  # type: ignore[union-attr]


def test_who_needs_several_gpus_is_told_how_to_offer_them() -> None:
    needs = Resources.model_validate({"gpus": 4})

    assert lacks(needs, [Offer.of(PAIR)]) == (
        "no live worker can serve it: it needs one of the pool 'default' with 4 GPUs a slot "
        "(trialyard worker --gpus-per-trial 4); live are 1 of the pool 'default' with 2 GPUs a slot"
    )
