resource "aws_apigatewayv2_api" "http" {
  name          = "http"
  protocol_type = "HTTP"

  cors_configuration {
    allow_origins = ["https://example.test"]
    allow_methods = ["GET", "POST"]
  }
}

resource "aws_apigatewayv2_stage" "live" {
  api_id      = aws_apigatewayv2_api.http.id
  name        = "live"
  auto_deploy = true
}

resource "aws_cognito_user_pool" "people" {
  name = "people"

  password_policy {
    minimum_length = 12
  }
}

resource "aws_wafv2_ip_set" "office" {
  name               = "office"
  scope              = "REGIONAL"
  ip_address_version = "IPV4"
  addresses          = ["192.0.2.0/24"]
}
