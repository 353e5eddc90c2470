"""A hospital's archive: clips come in through the gate of `deid`, and DICOM goes out, by DICOMweb or by the older
C-STORE and its kin."""

from echokdm.pacs.door import open_archive
from echokdm.pacs.fetch import Asked, fetch
from echokdm.pacs.listen import listen
from echokdm.pacs.receiver import Station
from echokdm.pacs.send import Sent, send

__all__ = ["Asked", "Sent", "Station", "fetch", "listen", "open_archive", "send"]
