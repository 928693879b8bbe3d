resource "aws_launch_template" "web" {
  image_id = "ami-12345678"

  metadata_options {
    http_tokens = "required"
  }
}
