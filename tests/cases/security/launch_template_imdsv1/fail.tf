resource "aws_launch_template" "bad" {
  image_id = "ami-12345678"
}

resource "aws_launch_template" "bad_said" {
  image_id = "ami-12345678"

  metadata_options {
    http_tokens = "optional"
  }
}
