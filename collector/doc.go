// Package collector turns targets into samples: it finds the targets, scrapes
// them and keeps what they say in an embedded time series database.
//
// Scraping, discovery and storage are Prometheus's own libraries, so a pasted
// scrape_configs means here what it means there. What the package adds is a tap
// on every transaction: once its samples can be queried, whoever asked is told
// which metric names came, and every target remembers what it last exposed.
package collector
