//go:build !race

package collector_test

const changedEvery = "100ms" // how often a job is scraped that reloads change
