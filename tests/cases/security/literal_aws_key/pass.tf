resource "aws_instance" "web" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"
  user_data     = "export AWS_REGION=us-east-1 KEY_ID=AKIA"
}

resource "aws_lambda_function" "job" {
  function_name = "job"
  role          = "arn:aws:iam::123456789012:role/job"
  image_uri     = "123456789012.dkr.ecr.us-east-1.amazonaws.com/job:1"
  package_type  = "Image"

  environment {
    variables = { STAGE = "test" }
  }
}
