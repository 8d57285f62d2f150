"""Texts whose characters cannot steer a terminal."""

from __future__ import annotations

# Of the ASCII ones Unicode has pictures; lines and tabs are what they are.
PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
OTHERS = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # C1; what turns the reading direction
VISIBLE = PICTURES | dict.fromkeys(OTHERS, 0xFFFD)


def visible(text: str) -> str:
    """The text with a sign in place of each character that a terminal would obey, such as the ESC of a colour."""
    return text.translate(VISIBLE)
