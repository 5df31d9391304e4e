"""Intervals of numbers: what a setting may be, and how a message says so."""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True)
class Interval:
    """The numbers that a setting may have.

    Attributes:
      low: the lower bound; ``-inf`` if there is none.
      high: the upper bound; ``inf`` if there is none.
      has_low: whether the lower bound belongs to the interval.
      has_high: whether the upper bound belongs to the interval.
    """

    low: float
    high: float
    has_low: bool
    has_high: bool

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Reads an interval in mathematical notation, such as ``[0, 1)`` or ``(0, inf)``.

        Raises:
          ValueError: the text is no interval.
        """
        match = re.fullmatch(r"([\[(])([^,\s]+), ([^,\s]+)([\])])", text)
        if match is None:
            raise ValueError(f"{text} must be an interval such as [0, 1) or (0, inf)")
        low, high = float(match[2]), float(match[3])
        return cls(low, high, has_low=match[1] == "[", has_high=match[4] == "]")

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, (int, float))
        above = self.low <= number if self.has_low else self.low < number
        return above and (number <= self.high if self.has_high else number < self.high)

    @property
    def requirement(self) -> str:
        """What a number in it must be, in words."""
        if self.high == math.inf and self.has_low:
            return f"must be {self.low:g} or greater"
        if self.high == math.inf:
            return f"must be greater than {self.low:g}"
        if self.has_low and self.has_high:
            return f"must be between {self.low:g} and {self.high:g}"
        if self.high == 1:  # Fractions read well in mathematical notation.
            opening, closing = "[" if self.has_low else "(", "]" if self.has_high else ")"
            return f"must be in {opening}{self.low:g}, {self.high:g}{closing}"
        low = f"at least {self.low:g}" if self.has_low else f"greater than {self.low:g}"
        high = f"at most {self.high:g}" if self.has_high else f"less than {self.high:g}"
        return f"must be {low} and {high}"
