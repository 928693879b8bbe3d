variable "names" {
  type    = map(number)
  default = { orders = 5, users = 10 }
}

resource "aws_dynamodb_table" "all" {
  for_each       = var.names
  name           = each.key
  billing_mode   = "PROVISIONED"
  read_capacity  = each.value
  write_capacity = max(1, each.value - 2)
  hash_key       = "id"

  attribute {
    name = "id"
    type = "S"
  }

  lifecycle {
    prevent_destroy = true
    ignore_changes  = [read_capacity]
  }
}

resource "aws_dynamodb_table_item" "first" {
  table_name = aws_dynamodb_table.all["users"].name
  hash_key   = aws_dynamodb_table.all["users"].hash_key
  item       = jsonencode({ id = { S = "1" } })
}

output "arns" {
  value = { for name, table in aws_dynamodb_table.all : name => table.arn }
}
