//go:build !race

package pipeline_test

// reloads is how often the reload test reloads.
const reloads = 200
