"""The clips of a folder: `core.folders` says which they are by their names, their content the rest."""

from pathlib import Path

from echokdm.core.errors import ClipError, EchoKDMError
from echokdm.core.files import check_plain
from echokdm.core.folders import candidates, is_frames
from echokdm.core.naming import called
from echokdm.io.sniff import sniff


def clip_files(
    path: Path,
    what: str = "The folder of clips",
    way_out: str = "name one that exists",
    kind: type[EchoKDMError] = ClipError,
) -> list[Path]:
    """The clips that a path holds: itself where it is a file or a folder of frames, else those of `candidates` whose
    content is a clip's.

    what, way_out: for the sentence, how the command calls the path and what else it takes. Raises `kind` where there is
    no clip.
    """
    if not check_plain(path, kind).exists():
        raise kind(f"{called(what, path)} does not exist; {way_out}.")
    if path.is_file() or is_frames(path):
        return [path]

    def is_clip(file: Path) -> bool:
        try:
            return sniff(file) != "image"
        except ClipError:
            return False

    files = [file for file in candidates(path) if is_clip(file)]
    if not files:
        raise kind(
            f"{called(what, path)} holds no clip, nor does a folder in it; name one with DICOM, AVI, MP4, GIF, NIfTI, .npz or "
            "folders of frames."
        )
    return files
