"""S3 by two clients: `boto_store` does everything, `curl_store` whole objects; see docs/design/libcurl.md.

To load boto3 takes longer than hundreds of objects. Only `probe` and the modules named `boto_…` import it at once.
"""
