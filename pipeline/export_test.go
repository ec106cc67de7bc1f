package pipeline

import (
	"reflect"

	"github.com/belaydev/belay/pipeline/reference"
	"github.com/belaydev/belay/rollback"
	"github.com/belaydev/belay/strict"
)

// Described are the types of the configuration file.
func Described() reference.Options {
	return reference.Options{
		Root:   reflect.TypeFor[keys](),
		Stands: stands(),
		Speaks: map[reflect.Type]reflect.Type{reflect.TypeFor[overriding](): reflect.TypeFor[rollback.Policy]()},
		Single: []reflect.Type{reflect.TypeFor[platformKeys]()},
		Required: map[reflect.Type][]string{
			reflect.TypeFor[serviceKeys](): {"name"},
		},
	}
}

// PlatformKeys are the platforms whose keys are described.
func PlatformKeys() []string { return strict.KeysOf(reflect.TypeFor[platformKeys]()) }

// Assignable says why somebody cannot be asked to look after an incident.
func Assignable(c Config, name string) error { return c.assignable(name) }
