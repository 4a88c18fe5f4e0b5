"""What obstore's errors tell only in their text: what a server answered, or why there was no answer."""

import re
from dataclasses import dataclass

# What S3 servers answer: AWS's list of error codes, and those that MinIO, Ceph and Swift add to it.
_FULL = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})
_WRONG_REGION = frozenset(
    {
        *("AuthorizationHeaderMalformed", "AuthorizationQueryParametersError"),
        *("IllegalLocationConstraintException", "InvalidLocationConstraint", "PermanentRedirect"),
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a server that refuses: the HTTP status (200 where only single objects could not be deleted) and
    S3's code, empty where it speaks no S3."""

    status: int
    code: str

    @property
    def full(self) -> bool:
        """Whether it has no room."""
        return self.status == 507 or self.code in _FULL

    @property
    def wrong_region(self) -> bool:
        """Whether it is asked as if it were in another region."""
        return self.code in _WRONG_REGION

    def __str__(self) -> str:
        return f"HTTP {self.status}" + (f" {self.code}" if self.code else "")


NO_TLS = "it does not speak TLS"
NOT_TRUSTED = "its certificate is not trusted"
_REASONS = (
    ("InvalidCertificate", NOT_TRUSTED),
    ("InvalidMessage", NO_TLS),
    ("tls handshake eof", NO_TLS),
    ("dns error", "its name is not known"),
    ("kind: Timeout", "nothing is heard in time"),
    ("IncompleteMessage", "it closes the connection"),
)


def answer_in(text: str) -> Answer | None:
    """The answer of a server in the text of an error; None: there was none."""
    if "redirect without LOCATION" in text:
        return Answer(301, "PermanentRedirect")
    undeleted = re.search(r"DeleteFailed \{.*?code: \"(\w{1,64})\"", text, re.DOTALL)
    if undeleted:
        return Answer(200, undeleted[1])
    status = re.search(r"status code: (\d{3})", text)
    if status is None:
        return None
    code = re.search(r"<Code>(\w{1,64})</Code>", text)
    return Answer(int(status[1]), code[1] if code else "")


def reason_in(text: str) -> str:
    """Why there was no answer, in a few words. Never the text itself, which shows the signed request."""
    for mark, reason in _REASONS:
        if mark in text:
            return reason
    system = re.search(r'message: "([\w ]{1,80})"', text)
    return system[1] if system else "its answer is not understood"


def beyond_end(error: Exception) -> bool:
    """Whether an object, in a directory too, ends before what was asked for."""
    text = str(error)
    answer = answer_in(text)
    return "StartTooLarge" in text if answer is None else answer.status == 416
