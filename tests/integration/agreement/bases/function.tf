resource "aws_iam_role" "run" {
  name               = "run"
  assume_role_policy = "{}"
}

resource "aws_lambda_function" "api" {
  function_name = "api"
  role          = aws_iam_role.run.arn
  handler       = "index.handler"
  runtime       = "python3.12"
  s3_bucket     = "code"
  s3_key        = "api.zip"

  environment {
    variables = {
      LEVEL = "info"
    }
  }
}

resource "aws_lambda_permission" "api" {
  statement_id  = "AllowInvoke"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.api.function_name
  principal     = "apigateway.amazonaws.com"
}

resource "aws_cloudwatch_log_group" "api" {
  name              = "/aws/lambda/${aws_lambda_function.api.function_name}"
  retention_in_days = 14
}
