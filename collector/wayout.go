package collector

import "strings"

// wayOut says what is allowed where upstream's message says only what is wrong.
func wayOut(what string) string {
	for _, w := range []struct{ has, allowed string }{
		{"at most one of", "one of them"},
		{"not valid for file discovery", "files that end in .json, .yml or .yaml"},
		{"at least one path name", "files: [targets/*.json]"},
		{"non-zero modulus", "modulus: a whole number above 0"},
		{"requires a port", "a port"},
		{"a port is required", "port: a number, or type: SRV"},
		{"for remote_write is empty", "url: where samples are sent, such as https://mimir.example.org/api/v1/push"},
		{"URL is missing", "url: an address that begins with http:// or https://"},
		{"url", "an address that begins with http:// or https://"},
		{"URL", "an address that begins with http:// or https://"},
		{"is not UTF-8", "text in UTF-8"},
	} {
		if strings.Contains(what, w.has) {
			return w.allowed
		}
	}
	return "what Prometheus takes"
}
