// Package bench holds the benchmarks that compare whole processes: Belay's part
// and the peer's run side by side, on the same machine and the same data. What
// is to be reached is in scripts/benchtable, which judges what they report.
package bench
