// Package acceptance holds tests of a whole Belay among the programs that
// people keep beside it, each of them real: Prometheus, promtool,
// VictoriaMetrics.
package acceptance
