// Package anomaly judges one series at a time: is this sample where the series' own history says that it should be?
//
// A [Detector] learns while it watches. It needs no training, keeps less than 4 KiB whatever the series does, never looks
// ahead, and gives the same answers for a series in seconds and in microseconds. What it expects is a blend of simple
// forecasts, each weighted by how well it did lately. How far a sample is off is judged twice, against the usual size of
// the errors at that time of day and against the tail of the errors seen so far, and both have to agree.
package anomaly
