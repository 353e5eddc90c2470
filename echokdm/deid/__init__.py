"""Folders of echo DICOM without the patient. Every file is rewritten from a whitelist and masked, or quarantined."""

from echokdm.deid.batch import Batch, Summary, begin_batch
from echokdm.deid.folder import deidentify_folder
from echokdm.deid.worker_process import Limits

__all__ = ["Batch", "Limits", "Summary", "begin_batch", "deidentify_folder"]
