resource "aws_s3_bucket" "site" {
  bucket = "site"
}

resource "aws_s3_bucket_public_access_block" "bad" {
  bucket              = aws_s3_bucket.site.id
  block_public_acls   = true
  block_public_policy = false
}
