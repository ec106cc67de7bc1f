package alerting

import (
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	promconfig "github.com/prometheus/common/config"
)

// Expanded returns Alertmanager's configuration as its notifiers take it: every
// ${NAME} replaced by that variable of the environment, and every path relative
// to the folder of the file. A variable that is not set is an error.
func (c Config) Expanded() (amconfig.Config, error) {
	if c.reread == nil {
		return c.Upstream, nil
	}
	cfg := c.reread()
	dir := filepath.Dir(c.File)
	for i := range cfg.Templates {
		cfg.Templates[i] = promconfig.JoinDir(dir, cfg.Templates[i])
	}
	return cfg, complete(reflect.ValueOf(&cfg.Receivers), dir, map[uintptr]bool{})
}

// standIn is what a reference to the environment looks like in a text that
// Alertmanager's types have read; see filled.
var standIn = regexp.MustCompile(`http://secret\.invalid/([A-Za-z_][A-Za-z0-9_]*)`)

func revealed(s string) (string, error) {
	if !strings.Contains(s, "http://secret.invalid/") {
		return s, nil
	}
	return Secret(standIn.ReplaceAllString(s, `${$1}`)).Value()
}

// complete replaces references and resolves paths in everything below v. What
// several receivers share is visited once.
func complete(v reflect.Value, dir string, seen map[uintptr]bool) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return nil
		}
		seen[v.Pointer()] = true
		if u, ok := v.Interface().(*url.URL); ok {
			return completeURL(u)
		}
		if hc, ok := v.Interface().(*promconfig.HTTPClientConfig); ok {
			hc.SetDirectory(dir)
			return expandStandIns(v.Elem())
		}
		return complete(v.Elem(), dir, seen)
	case reflect.Slice:
		for i := range v.Len() {
			if err := complete(v.Index(i), dir, seen); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if f.Type.Kind() == reflect.String && strings.HasSuffix(f.Name, "File") {
				v.Field(i).SetString(promconfig.JoinDir(dir, v.Field(i).String()))
			}
			if err := complete(v.Field(i), dir, seen); err != nil {
				return err
			}
		}
	case reflect.String, reflect.Map:
		return expandStandIns(v)
	}
	return nil
}

func completeURL(u *url.URL) error {
	text, err := revealed(u.String())
	if err != nil || text == u.String() {
		return err
	}
	whole, err := url.Parse(text)
	if err != nil {
		return err
	}
	*u = *whole
	return nil
}

// expandStandIns replaces references in every string below v.
func expandStandIns(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		text, err := revealed(v.String())
		if err == nil && v.CanSet() {
			v.SetString(text)
		}
		return err
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if u, ok := v.Interface().(*url.URL); ok {
			return completeURL(u)
		}
		return expandStandIns(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				if err := expandStandIns(v.Field(i)); err != nil {
					return err
				}
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := expandStandIns(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return expandMap(v)
	}
	return nil
}

func expandMap(v reflect.Value) error {
	for _, k := range v.MapKeys() {
		held := reflect.New(v.Type().Elem()).Elem()
		held.Set(v.MapIndex(k))
		if held.Kind() == reflect.Interface {
			continue // a payload of a kind of its own
		}
		if err := expandStandIns(held); err != nil {
			return err
		}
		v.SetMapIndex(k, held)
	}
	return nil
}
