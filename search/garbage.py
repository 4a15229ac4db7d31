"""What Python's garbage collector need not look at again and again."""

from __future__ import annotations

import gc

FEW = 50_000  # objects more than before; the interpreter's 700 are there after every batch


def spare_the_living() -> None:
    """Collect what is garbage among the objects that are new since the last call, and pass over the others for good.

    The trials of a study stay as long as it does: with 10,000 of them a collection of everything takes a tenth of a
    second, in which nobody is answered. They are freed with their study, as there are no cycles in it. Before the next
    call hardly anything is collected: what a batch leaves behind is its trials, and to look through them took a
    twelfth of the scheduler's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(FEW)
