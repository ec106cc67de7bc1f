package promapi_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A generator writes random PromQL over the names of a world.
type generator struct {
	rng *rand.Rand
	w   world
}

func (g *generator) of(choices ...string) string { return choices[g.rng.IntN(len(choices))] }

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

func (g *generator) duration() string { return g.of("1m", "90s", "5m", "10m", "1h", "7m30s") }

var floats = []string{
	"up", "memory_bytes", "pool_limit", "build_info", "http_requests_total", "http_requests_total", "http_duration_seconds_bucket",
	"http_duration_seconds_sum", "http_duration_seconds_count", "memory_bytes", "up", "pool_limit", "odd_values",
}

var natives = []string{"rpc_duration_seconds", "rpc_duration_seconds_float", "rpc_duration_seconds_gauge", "rpc_duration_seconds_custom"}

func (g *generator) name() string {
	if g.chance(12) {
		return g.of(natives...)
	}
	return g.of(floats...)
}

func (g *generator) matchers() string {
	var out []string
	for range max(0, g.rng.IntN(5)-2) {
		out = append(out, g.of(
			`job="shop"`, `job!="shop"`, `job=~"sh.*|odd"`, `instance=~"10.0.0.[024]:80"`, `instance!~".*1:80"`,
			`code="200"`, `code=~"4..|5.."`, `code=""`, `le="0.5"`, `version!="v1"`,
		))
	}
	return strings.Join(out, ",")
}

// selector is a metric with matchers, without a range.
func (g *generator) selector() string {
	switch g.rng.IntN(25) {
	case 0:
		return `{"utf8.metric","with.dot"="x"}`
	case 1:
		return `{__name__=~"up|pool_limit",` + g.of(`job="pay"`, `job=~".+"`) + `}`
	}
	name := g.name()
	if g.chance(2) {
		name = "absent_metric"
	}
	if m := g.matchers(); m != "" || g.chance(20) {
		return name + "{" + m + "}"
	}
	return name
}

// when moves a selector in time.
func (g *generator) when() string {
	out := ""
	if g.chance(12) {
		out += " offset " + g.of("5m", "-2m", "1h", "-30s")
	}
	if g.chance(10) {
		mid := g.w.start.Add(40 * time.Minute).Unix()
		out += " @ " + g.of("start()", "end()", fmt.Sprint(mid), fmt.Sprintf("%d.25", mid+7))
	}
	return out
}

// window is a range vector.
func (g *generator) window(depth int) string {
	if depth > 0 && g.chance(15) {
		return "(" + g.vector(depth-1) + ")[" + g.of("10m:1m", "20m:90s", "5m:", "15m:45s") + "]" + g.when()
	}
	return g.selector() + "[" + g.duration() + "]" + g.when()
}

func (g *generator) number() string {
	return g.of("0", "1", "2", "0.5", "-3", "1e3", "100", "Inf", "NaN", "0.99", "7")
}

func (g *generator) scalar(depth int) string {
	switch {
	case depth > 0 && g.chance(25):
		return "scalar(" + g.vector(depth-1) + ")"
	case g.chance(15):
		return g.of("time()", "pi()")
	}
	return g.number()
}

func (g *generator) labels() string {
	names := []string{"job", "instance", "code", "le", "version", "method"}
	g.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return "(" + strings.Join(names[:g.rng.IntN(4)], ", ") + ")"
}

func (g *generator) grouping() string {
	if g.chance(25) {
		return ""
	}
	return " " + g.of("by", "by", "without") + " " + g.labels()
}

// vector is an instant vector of at most a depth.
func (g *generator) vector(depth int) string {
	if depth <= 0 {
		return g.selector() + g.when()
	}
	switch n := g.rng.IntN(100); {
	case n < 12:
		return g.selector() + g.when()
	case n < 34:
		return g.overTime(depth)
	case n < 52:
		return g.function(depth)
	case n < 74:
		return g.aggregation(depth)
	case n < 96:
		return g.binary(depth)
	case n < 98:
		return "-(" + g.vector(depth-1) + ")"
	}
	return "(" + g.vector(depth-1) + ")"
}

func (g *generator) overTime(depth int) string {
	switch g.rng.IntN(10) {
	case 0:
		return "quantile_over_time(" + g.of("0.5", "0.9", "-1", "1.5") + ", " + g.window(depth) + ")"
	case 1:
		return "predict_linear(" + g.window(depth) + ", " + g.of("60", "3600", "-10") + ")"
	}
	f := g.of("rate", "rate", "rate", "irate", "increase", "delta", "idelta", "deriv", "changes", "resets", "avg_over_time", "sum_over_time",
		"min_over_time", "max_over_time", "count_over_time", "last_over_time", "stddev_over_time", "stdvar_over_time", "present_over_time", "absent_over_time")
	return f + "(" + g.window(depth) + ")"
}

func (g *generator) function(depth int) string {
	in := g.vector(depth - 1)
	switch g.rng.IntN(14) {
	case 0:
		return "histogram_quantile(" + g.of("0.5", "0.9", "0.99", "2") + ", sum by (le" + g.of("", ", job", ", instance") + ") (rate(http_duration_seconds_bucket[" + g.duration() + "])))"
	case 1, 2:
		h := g.of(natives...)
		if g.chance(50) {
			h = "rate(" + h + "[5m])"
		}
		return g.of("histogram_count(", "histogram_sum(", "histogram_avg(", "histogram_stddev(", "histogram_stdvar(",
			"histogram_quantile(0.9, ", "histogram_fraction(0, 1, ") + h + ")"
	case 3:
		return `label_replace(` + in + `, "` + g.of("short", "job") + `", "$1-x", "` + g.of("instance", "job") + `", "(.*):.*")`
	case 4:
		return `label_join(` + in + `, "both", "/", "job", "instance")`
	case 5:
		return "clamp(" + in + ", " + g.scalar(0) + ", " + g.scalar(0) + ")"
	case 6:
		return g.of("clamp_min(", "clamp_max(", "round(") + in + ", " + g.number() + ")"
	case 7:
		return "vector(" + g.scalar(depth-1) + ")"
	case 8:
		return g.of("minute(", "hour(", "day_of_week(", "day_of_month(", "days_in_month(", "month(", "year(", "day_of_year(") + in + ")"
	case 9:
		return g.of("absent(", "timestamp(", "sort(", "sort_desc(") + in + ")"
	}
	return g.of("abs", "ceil", "floor", "round", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "tanh", "atan", "deg", "rad") + "(" + in + ")"
}

func (g *generator) aggregation(depth int) string {
	in := g.vector(depth - 1)
	switch g.rng.IntN(8) {
	case 0:
		return g.of("topk", "bottomk") + g.grouping() + " (" + g.of("1", "3", "scalar(pool_limit{instance=\"10.0.0.1:80\"})") + ", " + in + ")"
	case 1:
		return "quantile" + g.grouping() + " (" + g.of("0.5", "0.9", "0", "1") + ", " + in + ")"
	case 2:
		return "count_values" + g.grouping() + ` ("value", ` + in + ")"
	}
	return g.of("sum", "sum", "min", "max", "avg", "count", "stddev", "stdvar", "group") + g.grouping() + " (" + in + ")"
}

func (g *generator) binary(depth int) string {
	switch n := g.rng.IntN(100); {
	case n < 25: // with a scalar
		op := g.of("+", "-", "*", "/", "%", "^", "atan2", ">", "<", ">=", "<=", "==", "!=", "> bool", "== bool")
		if g.chance(50) {
			return "(" + g.vector(depth-1) + ") " + op + " " + g.scalar(depth-1)
		}
		return g.scalar(depth-1) + " " + op + " (" + g.vector(depth-1) + ")"
	case n < 45: // made to match, many to one
		op := g.of("+", "*", "/", ">", "<= bool")
		return "sum by (job, instance, code) (" + g.vector(depth-1) + ") " + op + g.of(
			" on (job, instance) group_left (version) build_info", " on (job) group_left () sum by (job) (up)", " ignoring (code) group_left () sum by (job, instance) (pool_limit)")
	case n < 65: // made to match, one to one
		by := g.of("job", "instance", "job, instance")
		return "sum by (" + by + ") (" + g.vector(depth-1) + ") " + g.of("+", "-", "/", "%", "> bool", "!=") + g.of("", " on ("+by+")") + " max by (" + by + ") (" + g.vector(depth-1) + ")"
	case n < 85: // sets
		return "(" + g.vector(depth-1) + ") " + g.of("and", "or", "unless") + g.of("", " on "+g.labels(), " ignoring "+g.labels()) + " (" + g.vector(depth-1) + ")"
	}
	op := g.of("+", "-", "*", "/", "==", ">= bool")
	return "(" + g.vector(depth-1) + ") " + op + g.of("", "", " on "+g.labels(), " ignoring "+g.labels()) + " (" + g.vector(depth-1) + ")"
}
