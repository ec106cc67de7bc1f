//go:build race

package pipeline_test

// reloads is how often the reload test reloads. Under the race detector
// everything is some ten times slower, and an incident holds 100 alerts.
const reloads = 60
