resource "aws_api_gateway_method" "get" {
  rest_api_id   = "api"
  resource_id   = "res"
  http_method   = "GET"
  authorization = "AWS_IAM"
}

resource "aws_api_gateway_method" "preflight" {
  rest_api_id   = "api"
  resource_id   = "res"
  http_method   = "OPTIONS"
  authorization = "NONE"
}
