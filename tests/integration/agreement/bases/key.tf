resource "aws_kms_key" "main" {
  description             = "for all"
  deletion_window_in_days = 10
  enable_key_rotation     = true
}

resource "aws_kms_alias" "main" {
  name          = "alias/main"
  target_key_id = aws_kms_key.main.key_id
}

resource "aws_secretsmanager_secret" "token" {
  name       = "token"
  kms_key_id = aws_kms_key.main.arn
}

resource "aws_ssm_parameter" "level" {
  name  = "/app/level"
  type  = "String"
  value = "info"
}
