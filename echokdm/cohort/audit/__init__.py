"""Does a synthetic cohort give its patients away? Copies of real clips, and patients in two splits."""

from echokdm.cohort.audit.result import Audit
from echokdm.cohort.audit.run import audit_cohort

__all__ = ["Audit", "audit_cohort"]
