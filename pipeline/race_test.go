//go:build race

package pipeline_test

// The race detector makes everything ten times slower, and other tests run
// beside this one; make test runs all two hundred reloads in a build without it.
const (
	reloads     = 24
	pageEvery   = 4 // reloads
	scrapeEvery = "1s"
)
