resource "aws_s3_bucket" "logs" {
  bucket = "loraform-logs"
  tags = {
    Name  = "logs"
    stage = "test"
  }
}

resource "aws_s3_bucket_versioning" "logs" {
  bucket = aws_s3_bucket.logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket              = aws_s3_bucket.logs.id
  block_public_acls   = true
  block_public_policy = true
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    id     = "old"
    status = "Enabled"

    filter {
      prefix = "old/"
    }

    expiration {
      days = 30
    }
  }
}
