"""The signs of trouble in a GAN's training: what each is seen by, when it begins and ends, and what to try."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """A sign of trouble: a number on the wrong side of a threshold.

    Attributes:
        name: the name of the sign.
        value: the name of the number.
        begins: the number at which the sign begins.
        ends: the number at which the sign ends, which lies on the other side, so that it does not flicker.
        seen: what was seen, with a place for the number.
        means: what it means.
        remedies: what to try: the name of the part that does it, or an empty text, and the words.
        twice: whether the number must be beyond ``begins`` at two looks in a row.
    """

    name: str
    value: str
    begins: float
    ends: float
    seen: str
    means: str
    remedies: tuple[tuple[str, str], ...]
    twice: bool = False

    def there(self, now: Mapping[str, float], before: Mapping[str, float], was: bool) -> bool:
        """Whether the sign is there.

        Args:
            now: the numbers by name. Without its number, a sign is not there.
            before: the numbers of the look before.
            was: whether the sign was there at the look before.
        """
        if self.value not in now:
            return False
        if was:
            return not self._beyond(now[self.value], self.ends, self.ends > self.begins)
        looks = (now, before) if self.twice else (now,)
        return all(
            self.value in look and self._beyond(look[self.value], self.begins, self.begins > self.ends)
            for look in looks
        )

    def line(self, value: float, parts: Collection[str]) -> str:
        """The sign in one line.

        Args:
            value: the number.
            parts: the names of the parts that the game has already, which are not advised again.
        """
        untried = [words for part, words in self.remedies if not part or part not in parts]
        return f"{self.name}: {self.seen.format(value)}: {self.means}; try {', or '.join(untried)}"

    @staticmethod
    def _beyond(value: float, threshold: float, upwards: bool) -> bool:
        return value >= threshold if upwards else value <= threshold


_AUGMENT = (
    ("ada", "game.augmentations: [ada]"),
    ("lecam", "lecam in game.penalties"),
    ("", "a larger weight of r1"),
    ("", "more data"),
)
_FORGET = (
    ("ada", "game.augmentations: [ada]"),
    ("", "more data"),
    ("", "a smaller generator"),
    ("", "an earlier checkpoint"),
)
_SPREAD = (
    ("", "an r1 penalty or a larger weight of it"),
    ("", "lower learning rates"),
    ("", "another outer loop, such as outer: {name: rapp}"),
)

SIGNS = (
    Sign(
        "collapse",
        "spread",
        begins=0.5,
        ends=0.6,
        seen="samples are only {:.2f} times as far apart as real ones",
        means="the generator makes few different samples",
        remedies=_SPREAD,
        twice=True,
    ),
    Sign(
        "low_recall",
        "recall",
        begins=0.05,
        ends=0.1,
        seen="recall is {:.3f}",
        means="samples that look real cover little of the data",
        remedies=_SPREAD,
    ),
    Sign(
        "memorisation",
        "copies",
        begins=0.3,
        ends=0.2,
        seen="{:.0%} of the samples are copies of training samples",
        means="the generator knows the data by heart",
        remedies=_FORGET,
    ),
    Sign(
        "low_authenticity",
        "memorised",
        begins=0.8,
        ends=0.7,
        seen="{:.0%} of the samples are memorised (1 - authenticity)",
        means="the generator knows the data by heart",
        remedies=_FORGET,
    ),
    Sign(
        "overfitting",
        "r_v",
        begins=0.5,
        ends=0.35,
        seen="the discriminator's logits of held-out real samples have gone {:.0%} of the way from those of training "
        "samples to those of fakes",
        means="it knows the training samples by heart",
        remedies=_AUGMENT,
    ),
    Sign(
        "certainty",
        "r",
        begins=0.9,
        ends=0.8,
        seen="r, the mean of sign D(x) over training samples, is {:.2f}",
        means="the discriminator may know them by heart",
        remedies=_AUGMENT,
    ),
)
