//go:build tools

// Package tools pins the OpenTofu command that tests run beside terraform.
package tools

import (
	_ "github.com/opentofu/opentofu/cmd/tofu"
)
