//go:build tools

// Package tools pins the runc commands that the devcluster runs.
package tools

import (
	_ "github.com/opencontainers/runc"
)
