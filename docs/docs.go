// Package docs holds what is read by people and given out by the program, too.
package docs

import _ "embed" // for the schema

//go:embed belay.schema.json
var schema []byte

// Schema returns the JSON Schema of the configuration file.
func Schema() []byte { return schema }
