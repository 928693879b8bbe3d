resource "aws_kms_key" "bad" {
  description = "data"
}
