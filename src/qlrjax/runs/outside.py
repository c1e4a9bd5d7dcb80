"""Where exports may be written: never over a run's own files, nor over anything unasked."""

from pathlib import Path

from qlrjax.names import printable
from qlrjax.runs import marker


def check(out: Path, run: Path, force: bool = False) -> None:
    """Refuses a place that holds something else already.

    Args:
        out: File or folder to write.
        run: The run that is exported; its folder `export` is for this, and may be written again.
        force: Replace a file, or write into a folder that is not empty.

    Raises:
        ValueError: The place is taken, or lies inside a run's folder.
    """
    place = out.absolute()
    own = (run / marker.EXPORT).absolute()
    if own.is_symlink():
        raise ValueError(f"{printable(own)} is a link; remove it, or name a place with --out")
    if place.is_relative_to(own) and ".." not in place.parts:
        return
    for folder in (place, *place.resolve().parents):
        if folder.is_dir() and (folder / marker.NAME).exists():
            raise ValueError(
                f"{printable(out)} lies in the folder of a run ({printable(folder)}); name a place "
                f"outside, or leave --out away for {printable(own)}"
            )
    taken = place.is_dir() and any(place.iterdir())
    if (taken or (place.exists() and not place.is_dir()) or place.is_symlink()) and not force:
        what = "is a folder with something in it" if taken else "is there already"
        raise ValueError(f"{printable(out)} {what}; name another place, or give --force")
