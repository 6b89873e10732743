"""What the stand-in for AWS enforces, and stock moto does not."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import ClientError

from tests.aws_stand_in import aws


def test_stock_moto_lets_through_what_the_stand_in_refuses() -> None:
    """Why the stand-in is more than moto: against it no test of a switched-off key would prove anything."""
    for stock in (True, False):
        with aws(stock=stock) as stand_in:
            kms, arn = stand_in.client("kms"), stand_in.key()
            sealed = kms.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
            bucket = stand_in.bucket("stock" if stock else "enforced")
            s3 = stand_in.client("s3")
            under = {"Bucket": bucket, "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
            s3.put_object(Key="a", Body=b"a", **under)
            stand_in.deny(arn, "kms:Encrypt")
            tried = {"denied": _code(lambda kms=kms, arn=arn: kms.encrypt(KeyId=arn, Plaintext=b"x"))}
            stand_in.deny(arn)
            kms.disable_key(KeyId=arn.rpartition("/")[2])
            tried |= {
                "decrypt": _code(lambda kms=kms, sealed=sealed: kms.decrypt(CiphertextBlob=sealed)),
                "read": _code(lambda s3=s3, bucket=bucket: s3.get_object(Bucket=bucket, Key="a")),
                "write": _code(lambda s3=s3, under=under: s3.put_object(Key="b", **under)),
            }
            kms.schedule_key_deletion(KeyId=arn.rpartition("/")[2], PendingWindowInDays=7)
            tried["pending"] = _code(lambda kms=kms, sealed=sealed: kms.decrypt(CiphertextBlob=sealed))
            if stock:
                assert set(tried.values()) == {None}
            else:
                assert tried == {
                    "denied": "AccessDeniedException",
                    "decrypt": "DisabledException",
                    "read": "KMS.DisabledException",
                    "write": "KMS.DisabledException",
                    "pending": "KMSInvalidStateException",
                }
                assert _code(lambda kms=kms, arn=arn: kms.enable_key(KeyId=arn)) is None, "by its ARN"
                days = {"PendingWindowInDays": 1}
                refused = _code(lambda kms=kms, arn=arn, days=days: kms.schedule_key_deletion(KeyId=arn, **days))
                assert refused == "ValidationException"


def _code(call: Callable[[], object]) -> str | None:
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None
