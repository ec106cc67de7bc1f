package rules

import "strings"

// wayOut says what is allowed where a message, often upstream's, says only what
// is wrong.
func wayOut(what string) string {
	for _, w := range []struct{ has, allowed string }{
		{"stands where a string belongs", "text"},
		{"is here twice in one file", "a name of its own for each group of a file"},
		{"is here twice", "each key once"},
		{"only an alert has the key", "expr, labels and record in a recording rule"},
		{"in recording rule", "expr, labels and record in a recording rule"},
		{"recording rule name", "a metric name such as job:errors:rate1m, without braces"},
		{"only one of 'record' and 'alert'", "alert, or record"},
		{"one of 'record' or 'alert'", "alert: NAME, or record: NAME"},
		{"a group has no name", "name: a name of its own"},
		{"invalid label name", "a label name other than __name__"},
		{"invalid annotation name", "letters, digits and _"},
		{"invalid label value", "text in UTF-8"},
		{"the template cannot be read", "a Go template with Prometheus's functions, such as {{ $labels.service }} or {{ $value }}"},
		{"the expression cannot be read", "PromQL, such as up == 0"},
		{"field 'expr' must be set", "expr: an expression in PromQL"},
		{"is not a number", "a whole number"},
		{"is not a mapping", "a mapping of keys to values"},
		{"is not a list", "a list: [a, b], or a line with - for each element"},
		{"is not true or false", "true, false"},
	} {
		if strings.Contains(what, w.has) {
			return w.allowed
		}
	}
	return "what Prometheus takes in a rule file"
}
