resource "aws_instance" "bad" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"
}

resource "aws_instance" "bad_said" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"

  metadata_options {
    http_tokens = "optional"
  }
}

resource "aws_instance" "bad_half" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"

  metadata_options {
    http_endpoint = "enabled"
  }
}
