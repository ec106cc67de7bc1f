package probe

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/miekg/dns"
	blackbox "github.com/prometheus/blackbox_exporter/config"
	promconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/belaydev/belay/strict"
)

// DefaultTimeout is that of a probe, unless its interval is shorter.
const DefaultTimeout = model.Duration(10 * time.Second)

// bodyLimit bounds what a probe reads of a page.
const bodyLimit = 16 << 20

// A Probe is one element of the key `probes`: a check from outside, done again
// and again. It has exactly one kind.
type Probe struct {
	Name     string         `yaml:"name"`     // is unlike that of any other probe; becomes a label
	Service  string         `yaml:"service"`  // becomes a label
	Interval model.Duration `yaml:"interval"` // between two probes; global.scrape_interval unless given
	Timeout  model.Duration `yaml:"timeout"`  // of one probe: 10s, or the interval where that is shorter

	HTTP *HTTP `yaml:"http"` // asks for a page
	TCP  *TCP  `yaml:"tcp"`  // opens a connection
	DNS  *DNS  `yaml:"dns"`  // asks a server for a name
	GRPC *GRPC `yaml:"grpc"` // asks a gRPC server for its health
	ICMP *ICMP `yaml:"icmp"` // pings a host
}

// HTTP asks for a page. Keys of Prometheus's HTTP client belong to it, too:
// basic_auth, authorization, tls_config, proxy_url and so on.
type HTTP struct {
	URL              string                      `yaml:"url"`           // of the page
	Method           string                      `yaml:"method"`        // of the request; GET unless given
	ExpectStatus     Codes                       `yaml:"expect_status"` // one status or several that are right; 2xx unless given
	ExpectBody       string                      `yaml:"expect_body"`   // a regular expression that must match
	Headers          map[string]string           `yaml:"headers"`       // to send
	Body             string                      `yaml:"body"`          // to send
	HTTPClientConfig promconfig.HTTPClientConfig `yaml:",inline"`
}

// UnmarshalYAML fills in what is not given.
func (h *HTTP) UnmarshalYAML(read func(any) error) error {
	type plain HTTP
	h.HTTPClientConfig = promconfig.DefaultHTTPClientConfig
	return read((*plain)(h))
}

// Codes are status codes: one, or a list.
type Codes []int

// UnmarshalYAML reads one number or a list of them.
func (c *Codes) UnmarshalYAML(read func(any) error) error {
	var one int
	if read(&one) == nil {
		*c = Codes{one}
		return nil
	}
	return read((*[]int)(c))
}

// TCP opens a connection.
type TCP struct {
	Address   string               `yaml:"address"`    // host:port
	TLS       bool                 `yaml:"tls"`        // speak TLS
	TLSConfig promconfig.TLSConfig `yaml:"tls_config"` // as in Prometheus
	Send      string               `yaml:"send"`       // a line to send first
	Expect    string               `yaml:"expect"`     // a regular expression for a line of the answer
}

// DNS asks a server for a name.
type DNS struct {
	Server    string `yaml:"server"`     // host or host:port
	QueryName string `yaml:"query_name"` // the name to ask for
	QueryType string `yaml:"query_type"` // of the record; A unless given
	Transport string `yaml:"transport"`  // by which it is asked; one of udp, tcp; udp unless given
}

// GRPC asks for the health of a gRPC server, by its standard health service.
type GRPC struct {
	Address   string               `yaml:"address"`    // host:port
	Service   string               `yaml:"service"`    // by its full name; none asks for the whole server
	TLS       bool                 `yaml:"tls"`        // speak TLS
	TLSConfig promconfig.TLSConfig `yaml:"tls_config"` // as in Prometheus
}

// ICMP pings a host.
type ICMP struct {
	Host string `yaml:"host"` // a name or an address
}

// Load reads `probes`. every is how often they run where they do not say; 0 is
// Prometheus's own minute. It touches neither network nor disk.
func Load(doc *strict.Doc, every model.Duration) ([]Probe, strict.Problems) {
	var probes []Probe
	problems := doc.Decode(&probes, "probes")
	if len(problems) > 0 {
		return nil, problems
	}
	if every <= 0 {
		every = model.Duration(time.Minute)
	}
	lines := map[string]int{}
	for i := range probes {
		p := &probes[i]
		at := func(what, allowed string, path ...any) {
			problems = append(problems, doc.At(what, allowed, append([]any{"probes", i}, path...)...))
		}
		p.durations(every, at)
		switch first, taken := lines[p.Name]; {
		case p.Name == "":
			at("a probe without a name", "name: what it is called in metrics")
		case taken:
			at(fmt.Sprintf("name: %q is taken by the probe in line %d", p.Name, first), "a name that no other probe has", "name")
		default:
			lines[p.Name] = doc.Line("probes", i, "name")
		}
		p.kinds(at)
	}
	return probes, problems
}

type complaint func(what, allowed string, path ...any)

func (p *Probe) durations(every model.Duration, at complaint) {
	if p.Interval == 0 {
		p.Interval = every
	}
	if p.Interval < model.Duration(100*time.Millisecond) {
		at("interval: "+p.Interval.String()+" is too short", "100ms or more, such as 5s", "interval")
	}
	switch {
	case p.Timeout == 0:
		p.Timeout = min(DefaultTimeout, p.Interval)
	case p.Timeout < 0:
		at("timeout: a probe needs time", "a duration above 0, such as 2s", "timeout")
	case p.Timeout > p.Interval:
		at(fmt.Sprintf("timeout: %s is longer than the interval, %s", p.Timeout, p.Interval), "at most "+p.Interval.String(), "timeout")
	}
}

const oneKind = "exactly one of http, tcp, dns, grpc, icmp"

func (p *Probe) kinds(at complaint) {
	n := 0
	if p.HTTP != nil {
		n++
		p.HTTP.validate(at)
	}
	if p.TCP != nil {
		n++
		address(p.TCP.Address, at, "tcp", "address")
		pattern(p.TCP.Expect, at, "tcp", "expect")
	}
	if p.DNS != nil {
		n++
		p.DNS.validate(at)
	}
	if p.GRPC != nil {
		n++
		address(p.GRPC.Address, at, "grpc", "address")
	}
	if p.ICMP != nil {
		n++
		if p.ICMP.Host == "" {
			at("icmp: no host", "a name or an address", "icmp")
		}
	}
	if n != 1 {
		at(fmt.Sprintf("a probe of %d kinds", n), oneKind)
	}
}

func (h *HTTP) validate(at complaint) {
	if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		at(fmt.Sprintf("url: %q is not the address of a page", h.URL), "a URL such as https://shop.example.org/healthz", "http", "url")
	}
	for _, code := range h.ExpectStatus {
		if code < 100 || code > 599 {
			at(fmt.Sprintf("expect_status: %d is no status of HTTP", code), "100 to 599", "http", "expect_status")
		}
	}
	pattern(h.ExpectBody, at, "http", "expect_body")
	if err := h.HTTPClientConfig.Validate(); err != nil {
		at(err.Error(), "", "http")
	}
}

func (d *DNS) validate(at complaint) {
	if d.QueryType == "" {
		d.QueryType = "A"
	}
	if d.Transport == "" {
		d.Transport = "udp"
	}
	if d.Server == "" {
		at("dns: no server", "the server to ask, such as 10.0.0.2:53", "dns")
	}
	if d.QueryName == "" {
		at("dns: no query_name", "the name to ask for, such as shop.example.org", "dns")
	}
	if _, ok := dns.StringToType[d.QueryType]; !ok {
		at(fmt.Sprintf("query_type: unknown value %q", d.QueryType), "A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT and the other types of DNS", "dns", "query_type")
	}
	if d.Transport != "udp" && d.Transport != "tcp" {
		at(fmt.Sprintf("transport: unknown value %q", d.Transport), "udp, tcp", "dns", "transport")
	}
}

func address(s string, at complaint, path ...any) {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.Atoi(port); err != nil || host == "" || perr != nil || n < 1 || n > 65535 {
		at(fmt.Sprintf("address: %q is not an address", s), "host:port", path...)
	}
}

func pattern(s string, at complaint, path ...any) {
	if _, err := regexp.Compile(s); err != nil {
		at(fmt.Sprintf("%s: %v", path[len(path)-1], err), "a regular expression (RE2)", path...)
	}
}

// target is what the probe goes to; its label instance.
func (p *Probe) target() string {
	switch {
	case p.HTTP != nil:
		return p.HTTP.URL
	case p.TCP != nil:
		return p.TCP.Address
	case p.DNS != nil:
		return p.DNS.Server
	case p.GRPC != nil:
		return p.GRPC.Address
	case p.ICMP != nil:
		return p.ICMP.Host
	}
	return ""
}

// module says the probe in the words of the blackbox exporter.
func (p *Probe) module() (blackbox.Module, error) {
	m := blackbox.DefaultModule
	m.GRPC = blackbox.DefaultGRPCProbe
	m.Timeout = time.Duration(p.Timeout)
	switch {
	case p.HTTP != nil:
		m.Prober = "http"
		h := &m.HTTP
		h.Method, h.ValidStatusCodes, h.Headers, h.Body = p.HTTP.Method, p.HTTP.ExpectStatus, p.HTTP.Headers, p.HTTP.Body
		h.HTTPClientConfig, h.BodySizeLimit = p.HTTP.HTTPClientConfig, bodyLimit
		if p.HTTP.ExpectBody != "" {
			expr, err := blackbox.NewRegexp(p.HTTP.ExpectBody)
			if err != nil {
				return m, err
			}
			h.FailIfBodyNotMatchesRegexp = []blackbox.Regexp{expr}
		}
	case p.TCP != nil:
		m.Prober = "tcp"
		m.TCP.TLS, m.TCP.TLSConfig = p.TCP.TLS, p.TCP.TLSConfig
		if p.TCP.Send != "" {
			m.TCP.QueryResponse = append(m.TCP.QueryResponse, blackbox.QueryResponse{Send: p.TCP.Send})
		}
		if p.TCP.Expect != "" {
			expr, err := blackbox.NewRegexp(p.TCP.Expect)
			if err != nil {
				return m, err
			}
			m.TCP.QueryResponse = append(m.TCP.QueryResponse, blackbox.QueryResponse{Expect: expr})
		}
	case p.DNS != nil:
		m.Prober = "dns"
		m.DNS.QueryName, m.DNS.QueryType, m.DNS.TransportProtocol = p.DNS.QueryName, p.DNS.QueryType, p.DNS.Transport
	case p.GRPC != nil:
		m.Prober = "grpc"
		m.GRPC.Service, m.GRPC.TLS, m.GRPC.TLSConfig = p.GRPC.Service, p.GRPC.TLS, p.GRPC.TLSConfig
	case p.ICMP != nil:
		m.Prober = "icmp"
	default:
		return m, errors.New(oneKind)
	}
	return m, nil
}
