"""Colour scale of heat maps, and the text colour with the higher contrast."""

Colour = tuple[float, float, float]
"""Red, green and blue in sRGB, each from 0 to 1."""

PALE: Colour = (0.91, 0.94, 0.98)
DEEP: Colour = (0.09, 0.29, 0.53)
"""Ends of the colour scale of heat maps."""


def shade(share: float) -> Colour:
    """Return the colour of a heat map cell for a value from 0 to 1."""
    red, green, blue = (low + (high - low) * share for low, high in zip(PALE, DEEP))
    return red, green, blue


def text_on(background: Colour) -> str:
    """Return the text colour, ``black`` or ``white``, with the higher contrast: at least 4.5:1 on all (WCAG 2.2)."""
    light = luminance(background)
    return "black" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "white"


def luminance(colour: Colour) -> float:
    """Compute the relative luminance as defined by WCAG 2.2, from 0 (black) to 1 (white)."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
