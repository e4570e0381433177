"""Which words of prompts a model knows after it learned from more of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain

from vjepa_demo.schema import WORD

# A word counts as known from so many clips: one clip does not teach it, and a rare one may be a name to keep out.
LEARNED_FROM = 3


def known_words_after(known: Iterable[str], prompts: Iterable[str]) -> tuple[str, ...]:
    """`known` and the words, in lower case, that stand in at least `LEARNED_FROM` of `prompts`, sorted; none where
    `known` is empty, because the text encoder knows English then."""
    words = set(known)
    if words:
        counts = Counter(chain.from_iterable({word.lower() for word in WORD.findall(prompt)} for prompt in prompts))
        words |= {word for word, num_clips in counts.items() if num_clips >= LEARNED_FROM}
    return tuple(sorted(words))
