resource "aws_instance" "bad" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"
  user_data     = <<-EOT
    #!/bin/sh
    export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE
  EOT
}

resource "aws_launch_template" "bad" {
  user_data = base64encode("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

resource "aws_lambda_function" "bad" {
  function_name = "job"
  role          = "arn:aws:iam::123456789012:role/job"
  image_uri     = "123456789012.dkr.ecr.us-east-1.amazonaws.com/job:1"
  package_type  = "Image"

  environment {
    variables = { ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE" }
  }
}
