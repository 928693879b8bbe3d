variable "people" {
  type = list(object({
    name  = string
    admin = optional(bool, false)
  }))
  default = [{ name = "ann", admin = true }, { name = "bob" }]

  validation {
    condition     = length(var.people) > 0
    error_message = "Somebody must be there."
  }
}

locals {
  admins  = [for person in var.people : person.name if person.admin]
  by_name = { for person in var.people : person.name => person }
  text    = "%{for name in local.admins}${name} %{endfor}"
  first   = try(local.admins[0], "nobody")
  total   = sum([for person in var.people : length(person.name)])
}

resource "terraform_data" "state" {
  input = local.by_name

  lifecycle {
    precondition {
      condition     = local.total > 0
      error_message = "There is nobody."
    }
  }
}

resource "aws_iam_user" "admins" {
  for_each = toset(local.admins)
  name     = each.value
}

resource "aws_iam_group" "all" {
  name = upper(local.first)
}

check "names" {
  assert {
    condition     = local.text != ""
    error_message = "There are no admins."
  }
}
