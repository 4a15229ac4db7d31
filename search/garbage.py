"""What Python's garbage collector need not look at again and again."""

from __future__ import annotations

import gc


def spare_the_living() -> None:
    """Collect what is garbage among the objects that are new since the last call, and pass over the others for good.

    The trials of a study stay as long as it does: with 10,000 of them a collection of everything takes a tenth of a
    second, in which nobody is answered. They are freed with their study, as there are no cycles in it.
    """
    gc.collect()
    gc.freeze()
