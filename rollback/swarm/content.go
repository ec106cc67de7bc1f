package swarm

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/swarm"

	"github.com/belaydev/belay"
	"github.com/belaydev/belay/rollback/engine"
)

// restartDefaults hold where a specification says nothing; the Docker CLI
// writes them down with its first update of a service.
var restartDefaults = map[string]string{"Condition": "any", "Delay": "5000000000"}

// content identifies what a specification runs: the task template and the
// ports. Not part of it are the number of replicas, the labels of the service,
// how updates are carried out, and the counter by which a restart is forced.
func content(spec swarm.ServiceSpec) (belay.Content, error) {
	task, err := taskDocument(spec.TaskTemplate)
	if err != nil {
		return "", err
	}
	ports, err := engine.Describe(spec.EndpointSpec)
	if err != nil {
		return "", err
	}
	ports.Drop(map[string]string{"Mode": "vip"})
	mode := "replicated"
	if spec.Mode.Global != nil {
		mode = "global"
	}
	return engine.Document{"task": map[string]any(task), "endpoint": map[string]any(ports), "mode": mode}.Content()
}

// template identifies what a task was made from. Placement is left out: Swarm
// lets a task be whose node satisfies the new placement as well.
func template(spec swarm.TaskSpec) (belay.Content, error) {
	doc, err := taskDocument(spec)
	if err != nil {
		return "", err
	}
	delete(doc, "Placement")
	return doc.Content()
}

func taskDocument(spec swarm.TaskSpec) (engine.Document, error) {
	doc, err := engine.Describe(spec)
	if err != nil {
		return nil, err
	}
	delete(doc, "ForceUpdate")
	delete(doc.At("Placement"), "Platforms") // follows from the image
	doc.Drop(map[string]string{"Runtime": "container"})
	doc.At("RestartPolicy").Drop(restartDefaults)
	c := doc.At("ContainerSpec")
	c.Drop(map[string]string{"Isolation": "default", "StopGracePeriod": "10000000000"})
	if image, ok := c["Image"].(string); ok {
		c["Image"] = engine.Identity(image)
	}
	return doc, nil
}

// revision returns what a specification runs and what people call it.
func revision(spec swarm.ServiceSpec) (belay.Revision, error) {
	if spec.TaskTemplate.ContainerSpec == nil {
		return belay.Revision{}, errors.New("this service runs no containers")
	}
	if spec.Mode.Replicated == nil && spec.Mode.Global == nil {
		return belay.Revision{}, errors.New("this service is a job; what has ended is not rolled back")
	}
	c, err := content(spec)
	if err != nil {
		return belay.Revision{}, fmt.Errorf("the service's specification: %w", err)
	}
	run := spec.TaskTemplate.ContainerSpec
	return belay.Revision{Content: c, Version: engine.Version(run.Image, run.Labels)}, nil
}

// body is what is kept of a revision.
type body struct {
	Spec    swarm.ServiceSpec `json:"spec"`
	ImageID string            `json:"image_id,omitempty"` // what the tag named on this engine, where no digest does
}

func parseBody(text []byte) (body, error) {
	var b body
	err := json.Unmarshal(text, &b)
	return b, err
}
