// Package bench holds the benchmarks that compare whole processes: Belay's part
// and the peer's run side by side, on the same machine and the same data, and
// the rows they print say what was reached and what was not.
package bench
