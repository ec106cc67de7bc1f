// Package main is the command behind make scores: it runs the detectors of anomaly rules over labelled series and prints,
// for each set and metric, what they reach and what was demanded. Nothing is tuned to a set: one configuration, one
// threshold for all series, no point adjustment.
package main
