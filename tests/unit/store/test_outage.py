from structlog.testing import capture_logs

from store.outage import AGAIN_SECONDS, Outage, Slowness


def test_an_outage_is_said_when_it_begins_seldom_while_it_lasts_and_when_it_ends() -> None:
    now = 100.0
    outage = Outage("away", "back", monotonic=lambda: now)
    with capture_logs() as logs:
        outage.is_over()  # it has never been away
        for step in range(250):  # two a second, for 125 s
            now = 100.0 + step / 2
            outage.goes_on("refused")
        outage.is_over()
        outage.is_over()
        outage.goes_on("refused again")

    assert AGAIN_SECONDS == 60
    assert [(line["event"], line["seconds"]) for line in logs] == [
        ("away", 0),
        ("away", 60),
        ("away", 120),
        ("back", 124),
        ("away", 0),
    ]
    assert [line.get("error") for line in logs] == ["refused"] * 3 + [None, "refused again"]


def test_what_is_slow_is_said_at_once_and_then_once_in_a_while_with_how_often_it_was() -> None:
    now = 100.0
    slowness = Slowness("slow", 1.0, monotonic=lambda: now)
    with capture_logs() as logs:
        slowness.took(0.9)
        for seconds in (1.5, 5.0, 2.0):
            slowness.took(seconds)
        now += AGAIN_SECONDS
        slowness.took(1.2)
        slowness.took(0.1)

    told = [(line["seconds"], line["times"]) for line in logs]
    assert told == [(1.5, 1), (5.0, 3)]
