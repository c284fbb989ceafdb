"""Values that programs stumble over, and bytes changed at random."""

from __future__ import annotations

from random import Random

NUMBERS = (
    *("0", "1", "-1", "2", "3", "5", "7", "8", "16", "31", "32", "33", "64", "100", "255", "256"),
    *("257", "1000", "65535", "65536", "2147483647", "2147483648", "-2147483648", "4294967295"),
    *("4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"),
    *("18446744073709551616", "nan", "inf", "-inf", "-0", "0.5", "-0.5", "1e-45", "1e38", "1e39"),
    *("1e400", "0x10", "010", "1_000", "1.", ".5", "٣"),
)
FORGED = "FORGED"
"""What never begins a line, since it stands in names only, after a line's end."""
NAMES = (
    f"a\n{FORGED}",
    f"\r\n{FORGED}\t",
    *("", " ", ".", "..", "a/b", "../x", "/etc/passwd", "data", "score", "label", "-", "--help"),
    *("\x1b[31mred", "a\x00b", "a\nb", "\r", "\x7f", "\x9b31m", "\u202etxt", "é", "名前", "😀"),
    *("'", '"', "\\", "`$(id)`", "<script>alert(1)</script>", "%s%n", "{}", "{0}", "a" * 255),
    *("a" * 5000, "nan", "true", "void", "background", "con", "@", "a@b", "a:b", "#", "*", "?"),
)


def number(rng: Random) -> str:
    """A number: one of those that hurt, or a small one."""
    return rng.choice(NUMBERS) if rng.random() < 0.6 else str(rng.randrange(12))


def integer(rng: Random) -> int:
    """A whole number that may hurt, of up to 64 bits."""
    shifted = (1 << rng.randrange(65)) + rng.randrange(-2, 3)
    return rng.choice((rng.randrange(12), shifted, -shifted))


def name(rng: Random) -> str:
    """A name that may hurt."""
    return rng.choice(NAMES)


def changed_bytes(data: bytes, rng: Random, times: int = 4) -> bytes:
    """Bytes with a few of them changed, added, left out, or moved."""
    content = bytearray(data)
    for _ in range(rng.randint(1, times)):
        size = len(content)
        place = rng.randrange(size + 1) if rng.random() < 0.5 else rng.randrange(min(size, 512) + 1)
        kind = rng.randrange(7)
        length = 1 << rng.randrange(8)
        if kind == 0 and place < size:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < size:
            content[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del content[place : place + length]
        elif kind == 3:
            content[place:place] = rng.randbytes(length)
        elif kind == 4:
            content[place:place] = content[place : place + length]
        elif kind == 5:
            width = rng.choice((1, 2, 4, 8))
            order = rng.choice(("little", "big"))
            value = integer(rng) % (1 << 8 * width)
            content[place : place + width] = value.to_bytes(width, order)
        else:
            del content[place:]
    return bytes(content)
