resource "aws_api_gateway_method" "bad" {
  rest_api_id   = "api"
  resource_id   = "res"
  http_method   = "GET"
  authorization = "NONE"
}

resource "aws_apigatewayv2_route" "bad" {
  api_id    = "api"
  route_key = "GET /things"
}
