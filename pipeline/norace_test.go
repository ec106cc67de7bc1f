//go:build !race

package pipeline_test

const (
	reloads     = 200 // of a running Belay
	pageEvery   = 8   // reloads the target is scraped at least once
	scrapeEvery = "200ms"
)
