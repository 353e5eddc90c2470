"""Who a file belongs to, as keyed hashes: subjects, new UIDs and date shifts, which reveal nothing without the salt."""

import datetime
import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

# A year back at least, so that no shifted date is near the true one; ten years at most.
_SHIFT_DAYS = (365, 3650)


@dataclass(frozen=True)
class Pseudonyms:
    """Keyed BLAKE2b of what identifies; the same salt gives the same pseudonyms. The salt is kept in memory alone."""

    salt: bytes

    def _hash(self, kind: str, value: str, size: int) -> bytes:
        key = hashlib.sha512(self.salt).digest()
        return hashlib.blake2b(f"{kind}\0{value}".encode("utf-8", "surrogatepass"), key=key, digest_size=size).digest()

    def token(self, kind: str, value: str) -> str:
        """16 hexadecimal digits; nothing for nothing."""
        return self._hash(kind, value, 8).hex() if value else ""

    def uid(self, kind: str, value: str) -> str:
        """A UID from a UUID (PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._hash(kind, value, 16), version=4).int}"

    def shifted(self, date: str, subject: str) -> str:
        """YYYYMMDD, by a number of days that is the subject's own; "" for what is no date."""
        if not re.fullmatch(r"[12]\d{7}", date):
            return ""
        first, last = _SHIFT_DAYS
        days = first + int.from_bytes(self._hash("shift", subject, 8), "big") % (last - first)
        try:
            true = datetime.date(int(date[:4]), int(date[4:6]), int(date[6:]))
            return (true - datetime.timedelta(days=days)).strftime("%Y%m%d")
        except (ValueError, OverflowError):
            return ""


@dataclass(frozen=True)
class Identity:
    """subject: the new patient ID. study, series, instance: new UIDs. study_date: shifted, or "".

    name, birth_date, sex: tokens, "" where the file has none; they tell two patients under one ID apart.
    """

    subject: str
    study: str
    series: str
    instance: str
    study_date: str
    name: str
    birth_date: str
    sex: str


def read_identity(dataset: "Dataset", pseudonyms: Pseudonyms, shift_dates: bool, content: str) -> Identity:
    """The identity of a data set. content: a digest of its pixels, which stands for a missing SOP instance UID.

    Without a patient ID each study is a subject of its own: names alone may be shared.
    """
    patient_id, issuer = _text(dataset, "PatientID"), _text(dataset, "IssuerOfPatientID")
    instance = _text(dataset, "SOPInstanceUID") or f"content {content}"
    study = _text(dataset, "StudyInstanceUID") or f"of {patient_id} {instance}"
    series = _text(dataset, "SeriesInstanceUID") or f"of {study}"
    subject = (
        "SUBJECT-" + pseudonyms.token("subject", f"{patient_id}\n{issuer}" if patient_id else f"study {study}").upper()
    )
    # Components and case are told apart by some scanners alone: DOE^JOHN is Doe^John^^.
    name = " ".join(re.split(r"[\^=\s]+", _text(dataset, "PatientName").casefold())).strip()
    return Identity(
        subject=subject,
        study=pseudonyms.uid("study", study),
        series=pseudonyms.uid("series", series),
        instance=pseudonyms.uid("instance", instance),
        study_date=pseudonyms.shifted(_text(dataset, "StudyDate"), subject) if shift_dates else "",
        name=pseudonyms.token("name", name),
        birth_date=pseudonyms.token("birth date", _text(dataset, "PatientBirthDate")),
        sex=pseudonyms.token("sex", _text(dataset, "PatientSex").upper()),
    )


def _text(dataset: "Dataset", keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")
