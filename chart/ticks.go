package chart

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Unit is what the values are counted in.
type Unit string

// The values of Unit.
const (
	Number  Unit = ""
	Ratio   Unit = "ratio" // 0 to 1, written as a percentage
	Seconds Unit = "seconds"
	Bytes   Unit = "bytes"
)

// Format writes a value for people, with three significant digits. A value that
// is missing is "unknown".
func (u Unit) Format(v float64) string {
	if !finite(v) {
		if math.IsInf(v, 0) {
			return "infinite"
		}
		return "unknown"
	}
	scale, suffix := u.scale(math.Abs(v))
	return significant(v/scale) + suffix
}

// scale returns what a value near max is divided by, and the sign that says so.
func (u Unit) scale(maximum float64) (float64, string) {
	switch u {
	case Ratio:
		return 0.01, " %"
	case Seconds:
		if maximum > 0 && maximum < 1 {
			return 0.001, " ms"
		}
		return 1, " s"
	case Bytes:
		for i, s := range []string{" TiB", " GiB", " MiB", " KiB"} {
			if f := math.Pow(1024, float64(4-i)); maximum >= f {
				return f, s
			}
		}
		return 1, " B"
	case Number:
	}
	switch {
	case maximum >= 1e9:
		return 1e9, " G"
	case maximum >= 1e6:
		return 1e6, " M"
	case maximum >= 1e5:
		return 1e3, " k"
	}
	return 1, ""
}

// significant writes three significant digits, more before the point if there
// are more, and no zeros at the end of a fraction.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if digits > 9 {
		return strconv.FormatFloat(v, 'e', 2, 64)
	}
	return trimZeros(strconv.FormatFloat(v, 'f', max(0, digits), 64))
}

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// A tick is a place on an axis with its label.
type tick struct {
	at    float64 // value, or seconds from the chart's start
	label string
}

// valueTicks chooses round numbers around lo to hi, about n of them, and
// returns the range that they span.
func valueTicks(lo, hi float64, u Unit, n int) (low, high float64, ticks []tick) {
	if !finite(lo) || !finite(hi) {
		return 0, 1, nil
	}
	lo, hi = graspable(lo), graspable(hi)
	if most := math.Max(math.Abs(lo), math.Abs(hi)); hi-lo <= most*1e-9 { // flat, as far as eyes and floats can tell
		hi = lo + math.Max(1e-9, most*0.1)
		if most == 0 {
			hi = 1
		}
	}
	scale, suffix := u.scale(math.Max(math.Abs(lo), math.Abs(hi)))
	step := roundStep((hi - lo) / scale / float64(n))
	first, last := math.Floor(lo/scale/step+1e-9), math.Ceil(hi/scale/step-1e-9)
	for i := range int(last-first) + 1 {
		v := (first + float64(i)) * step
		ticks = append(ticks, tick{v * scale, tickLabel(v, step) + suffix})
	}
	return first * step * scale, last * step * scale, ticks
}

// graspable makes 0 of what is too small to divide by.
func graspable(v float64) float64 {
	if math.Abs(v) < 1e-100 {
		return 0
	}
	return v
}

// tickLabel writes a value with as many decimals as its step needs.
func tickLabel(v, step float64) string {
	if step >= 1e7 || step < 1e-6 {
		return strings.Replace(strconv.FormatFloat(v, 'g', 3, 64), "-", "−", 1)
	}
	digits := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	if p := step * math.Pow(10, float64(digits)); math.Abs(p-math.Round(p)) > 1e-6 {
		digits++ // 2.5
	}
	return strings.Replace(strconv.FormatFloat(v, 'f', digits, 64), "-", "−", 1)
}

// roundStep returns the next number of the form 1, 2, 2.5 or 5 times a power of
// ten.
func roundStep(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if m*p >= x*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

var timeSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// timeStep returns the smallest round step that needs at most n ticks.
func timeStep(d time.Duration, n int) time.Duration {
	for _, s := range timeSteps {
		if d/s <= time.Duration(n) {
			return s
		}
	}
	days := d/(24*time.Hour)/time.Duration(max(1, n)) + 1
	return days * 24 * time.Hour
}

// clockTicks are round times of day in UTC.
func clockTicks(from, to time.Time, n int) []tick {
	step := timeStep(to.Sub(from), n)
	layout := "15:04"
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step >= 24*time.Hour:
		layout = "Jan 2"
	}
	var out []tick
	for at := from.UTC().Truncate(step); !at.After(to); at = at.Add(step) {
		if at.Before(from) {
			continue
		}
		label := at.Format(layout)
		if layout == "15:04" && at.Hour() == 0 && at.Minute() == 0 {
			label = at.Format("Jan 2")
		}
		out = append(out, tick{at.Sub(from).Seconds(), label})
	}
	return out
}

// sinceTicks are round distances from zero.
func sinceTicks(from, to, zero time.Time, n int) []tick {
	step := timeStep(to.Sub(from), n)
	first := from.Sub(zero) / step
	var out []tick
	for i := first - 1; ; i++ {
		at := zero.Add(i * step)
		if at.After(to) {
			return out
		}
		if !at.Before(from) {
			out = append(out, tick{at.Sub(from).Seconds(), since(i * step)})
		}
	}
}

// since writes a distance in time with its sign: T+0, +5m, −1h 30m.
func since(d time.Duration) string {
	if d == 0 {
		return "T+0"
	}
	sign := "+"
	if d < 0 {
		sign, d = "−", -d
	}
	var parts []string
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / u.of; n > 0 {
			parts = append(parts, strconv.Itoa(int(n))+u.name)
			d -= n * u.of
		}
	}
	return sign + strings.Join(parts, " ")
}
