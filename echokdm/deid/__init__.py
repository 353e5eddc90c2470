"""Folders of echo DICOM without the patient. Every file is rewritten from a whitelist and masked, or quarantined."""

from echokdm.deid.folder import Summary, deidentify_folder
from echokdm.deid.worker_process import Limits

__all__ = ["Limits", "Summary", "deidentify_folder"]
