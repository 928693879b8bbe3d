variable "domain" {
  type = string

  validation {
    condition     = endswith(var.domain, ".test")
    error_message = "Only test domains."
  }
}

variable "tags" {
  type    = map(string)
  default = {}
}
