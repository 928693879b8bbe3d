resource "aws_s3_bucket" "logs" {
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "aws:kms"
    }
  }
}

resource "aws_s3_bucket" "named" {
  bucket = "named"
}

resource "aws_s3_bucket_server_side_encryption_configuration" "named" {
  bucket = "named"

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}
