// Package dashboards makes what Grafana and Prometheus need to look at Belay:
// two dashboards, the rules by which Prometheus watches Belay itself, and the
// provisioning that brings them into a Grafana.
//
// Everything is made from Go, so that a panel, an alert and a page that speak of
// the same metric say the same, and lies beside the code as the files that
// people use:
//
//	grafana/*.json          the dashboards, in Grafana's classic model
//	prometheus/belay.yml    recording and alerting rules about Belay
//	provisioning/…          data source and dashboard provider
//
// The tests hold every query against the metrics of a Belay that has just played
// the demo: each parses, names only metrics and labels that exist, and has a
// result.
package dashboards

//go:generate go test . -run TestFilesAreAsTheCodeMakesThem -update
