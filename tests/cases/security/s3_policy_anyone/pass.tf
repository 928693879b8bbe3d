resource "aws_s3_bucket_policy" "delivery" {
  bucket = "site"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "s3:GetObject"
        Resource  = "arn:aws:s3:::site/*"
      },
      { Effect = "Deny", Principal = "*", Action = "s3:*", Resource = "arn:aws:s3:::site/*" },
    ]
  })
}
