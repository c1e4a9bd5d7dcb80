"""Names that others chose, of classes, files and folders: data, whatever they look like.

rich takes square brackets for markup, matplotlib takes dollars for formulas, and a terminal takes
control characters for orders. Text for any of them goes through here.
"""

# Not printable for Python, but what joins letters in several scripts and people in emoji.
_JOINERS = "\u200c\u200d"
_CLASS_NAME_AT_MOST = 200


def check_class(name: str, what: str = "class") -> None:
    """Refuses a class name that could not be shown or stored everywhere.

    Args:
        name: The name.
        what: How a sentence should call it, such as "--label".

    Raises:
        ValueError: It is empty, longer than 200 characters, or not printable on one line.
    """
    if len(name) > _CLASS_NAME_AT_MOST:
        raise ValueError(
            f"{what} {name[:20]!r}... has {len(name)} characters; a class has at most "
            f"{_CLASS_NAME_AT_MOST} in its name"
        )
    if not name.strip() or not _is_printable(name):
        raise ValueError(f"{what} {name!r} is no name; give the class one, printable on one line")


def printable(name: object, at_most: int = 0) -> str:
    """The name with what a terminal could not show, or would obey, as backslash escapes.

    Args:
        name: Anything with a `str`, such as a path.
        at_most: Characters to keep; 0 keeps all.
    """
    text = "".join(c if _is_printable(c) else ascii(c)[1:-1] for c in str(name))
    return text if not at_most or len(text) <= at_most else text[: at_most - 1] + "…"


def for_rich(name: object, at_most: int = 0) -> str:
    """A whole line as markup that shows it; two names escaped alone may make a tag together."""
    from rich.markup import escape

    # A backslash at the end would escape whatever is put behind it.
    text = escape(printable(name, at_most))
    return text + "\\" if (len(text) - len(text.rstrip("\\"))) % 2 else text


def for_matplotlib(name: object, at_most: int = 0) -> str:
    """The name as text that matplotlib does not take for a formula."""
    return printable(name, at_most).replace("$", r"\$")


def _is_printable(text: str) -> bool:
    return all(c.isprintable() or c in _JOINERS for c in text)
