resource "aws_efs_file_system" "bad" {
  creation_token = "shared"
}
