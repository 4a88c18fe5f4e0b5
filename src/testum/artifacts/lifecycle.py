"""A rule for the bucket: uploads that were begun and never finished are removed by the S3 server itself, because no
listing shows them."""

import base64
import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import httpx2
import structlog

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10
_EXPIRES_SECONDS = 300
RULE = (
    '<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>'
    "<ID>testum-unfinished-uploads</ID><Filter><Prefix>tasks/</Prefix></Filter><Status>Enabled</Status>"
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    "</Rule></LifecycleConfiguration>"
)
"""An upload takes minutes. Only what is under the prefix of our own objects is touched."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is, and whose: an address with its scheme, the bucket's name, and an account's credentials."""

    address: str
    name: str
    region: str
    access_key: str
    secret_key: str

    def sign(self, method: str, query: Mapping[str, str], now: dt.datetime) -> str:
        """The address of a request for the bucket itself, good for some minutes: obstore signs none with a query.
        Signature version 4 in query parameters (AWS, "Authenticating Requests: Using Query Parameters")."""
        day, moment = f"{now:%Y%m%d}", f"{now:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        signed = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(_EXPIRES_SECONDS),
            "X-Amz-SignedHeaders": "host",
            **query,
        }
        canonical = "&".join(f"{quote(key, safe='')}={quote(signed[key], safe='')}" for key in sorted(signed))
        request = f"{method}\n/{self.name}\n{canonical}\nhost:{urlsplit(self.address).netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"{self.address}/{self.name}?{canonical}&X-Amz-Signature={signature}"


def plain_client(address: str, seconds: float) -> httpx2.AsyncClient:
    """A client for what obstore does not do, which waits so many seconds for each answer. Trusted certificates are
    loaded for HTTPS only: that takes longer than a request."""
    return httpx2.AsyncClient(timeout=seconds, verify=urlsplit(address).scheme != "http")


async def ensure_rule(bucket: Bucket) -> bool:
    """Give the bucket the rule, unless it has rules already: those are its administrator's. Whether it has rules now.

    Never raises: a server without such rules, or one that lets us not set any, works all the same.
    """
    try:
        async with plain_client(bucket.address, _TIMEOUT_SECONDS) as client:
            present = await client.get(bucket.sign("GET", {"lifecycle": ""}, _now()))
            if present.status_code == 200 and "<Rule>" in present.text:
                return True
            if present.status_code == 200 or "NoSuchLifecycleConfiguration" in present.text:
                # S3 takes rules only with a checksum.
                checksum = base64.b64encode(
                    hashlib.md5(RULE.encode(), usedforsecurity=False).digest()
                ).decode()
                answer = await client.put(
                    bucket.sign("PUT", {"lifecycle": ""}, _now()),
                    content=RULE,
                    headers={"Content-MD5": checksum},
                )
                if answer.is_success:
                    return True
                present = answer
        reason = f"HTTP {present.status_code}"
    except httpx2.HTTPError as error:
        # Its text may hold the signed address.
        reason = type(error).__name__
    log.info(
        "the bucket has no rule that removes uploads which were never finished; see to it on the S3 server",
        bucket=bucket.name,
        answer=reason,
    )
    return False


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
