// Package peers finds, or builds once, the real programs that Belay is compared
// with and works beside, and starts them for a test or a benchmark: Prometheus
// 3 and its promtool, VictoriaMetrics, Alertmanager and amtool.
//
// Prometheus is built from the very module that Belay uses, so that both answer
// by the same code: Go builds it in a module of its own (peers/prometheus), into
// the user's cache folder, once for each version; test processes that want it at
// the same time wait for one another. The others are Debian's packages, which
// scripts/test-deps installs.
//
// Everything listens on 127.0.0.1 only and ends with its test.
package peers
