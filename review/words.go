package review

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// clock writes a time of day in UTC, to the second.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// stamp writes date and time in UTC.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// length writes a span of time no finer than it is known: whole seconds from
// ten seconds on or where it is unsure, whole minutes where it is unsure by
// minutes. unsure, in seconds, is told when it is not 0.
func length(secs, unsure float64) string {
	s := plainLength(secs, unsure)
	if unsure > 0 {
		s += " ± " + plainLength(unsure, unsure)
	}
	return s
}

func plainLength(secs, unsure float64) string {
	sign := ""
	if secs < 0 {
		sign, secs = "−", -secs
	}
	switch {
	case secs > 0 && secs < 0.9995 && unsure == 0:
		return sign + strconv.FormatFloat(math.Max(1, math.Round(secs*1000)), 'f', 0, 64) + "ms"
	case unsure >= 60:
		secs = math.Round(secs/60) * 60
	case secs < 10 && unsure < 1:
		s := strconv.FormatFloat(secs, 'f', 1, 64)
		return sign + strings.TrimSuffix(s, ".0") + "s"
	default:
		secs = math.Round(secs)
	}
	return sign + hms(int64(secs), unsure >= 60)
}

// hms writes seconds as days, hours, minutes and seconds, without what is 0.
func hms(secs int64, minutes bool) string {
	if secs == 0 {
		if minutes {
			return "0m"
		}
		return "0s"
	}
	var parts []string
	for _, u := range []struct {
		of   int64
		name string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := secs / u.of; n > 0 {
			parts = append(parts, strconv.FormatInt(n, 10)+u.name)
			secs %= u.of
		}
	}
	return strings.Join(parts, " ")
}

// since writes the distance from zero as T+: +1m 30s, −45s.
func since(t, zero time.Time) string {
	d := t.Sub(zero).Round(time.Second)
	switch {
	case d == 0:
		return "0"
	case d < 0:
		return "−" + hms(int64(-d/time.Second), false)
	}
	return "+" + hms(int64(d/time.Second), false)
}

// plural writes a count with its word.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
