//go:build tools

// Package tools pins the helm commands that the devcluster runs.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
