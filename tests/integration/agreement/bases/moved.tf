moved {
  from = aws_ssm_parameter.old
  to   = aws_ssm_parameter.new
}

resource "aws_ssm_parameter" "new" {
  name  = "/moved"
  type  = "String"
  value = "yes"
}

resource "aws_glue_catalog_database" "lake" {
  name = "lake"
}

resource "aws_athena_workgroup" "lake" {
  name = "lake"

  configuration {
    enforce_workgroup_configuration = true
  }
}
