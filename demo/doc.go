// Package demo plays one real incident on one machine.
//
// A small shop runs as real processes under a supervisor, real requests go
// through it, and `belay run` watches it as a child process of its own. A
// version that misbehaves is released like a person would release it. From then
// on the demo only looks: at what Belay's API says, at the log of the platform,
// at what a local Slack server was told. It never tells Belay anything.
//
// Everything except Belay lives in the demo's own process or is supervised by
// it, and so outlives the death of Belay: Crash plays the same scene again and
// again and kills Belay at random moments.
package demo
