"""S3 by boto3, and what every client of S3 needs.

To load boto3 takes longer than hundreds of objects, so nothing of it is loaded before it is needed: `store`,
`client`, `probe` and the modules named `boto_…` import it, the others do not. `late` is the way from here to there.
"""
