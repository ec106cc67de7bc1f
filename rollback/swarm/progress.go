package swarm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"github.com/belaydev/belay"
)

// progress says how far the tasks are, by Swarm's own word on the update and by
// the tasks themselves.
func progress(svc swarm.Service, tasks []swarm.Task) (belay.Progress, string, error) {
	want, err := template(svc.Spec.TaskTemplate)
	if err != nil {
		return "", "", err
	}
	places := map[string][]swarm.Task{} // tasks made from the present template, by slot or node
	running, others, wanted := 0, 0, 0
	for _, t := range tasks {
		from, err := template(t.Spec)
		if err != nil {
			return "", "", err
		}
		if t.DesiredState == swarm.TaskStateRunning {
			wanted++
		}
		up := t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateRunning
		switch {
		case from != want && up:
			others++
		case from == want:
			place := fmt.Sprint(t.Slot)
			if t.Slot == 0 {
				place = t.NodeID
			}
			places[place] = append(places[place], t)
			if up {
				running++
			}
		}
	}
	if r := svc.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		wanted = int(*r.Replicas) //nolint:gosec // a number of tasks
	}
	trouble := troubles(svc.Spec.Name, places)
	state := swarm.UpdateStateCompleted
	if svc.UpdateStatus != nil && svc.UpdateStatus.State != "" {
		state = svc.UpdateStatus.State
	}
	switch count := fmt.Sprintf("%d of %d tasks run it", running, wanted); {
	case state == swarm.UpdateStatePaused, state == swarm.UpdateStateRollbackPaused:
		return belay.Stuck, join(svc.UpdateStatus.Message, trouble), nil
	case trouble != "" && running < wanted:
		return belay.Stuck, trouble, nil
	case state == swarm.UpdateStateUpdating, state == swarm.UpdateStateRollbackStarted:
		return belay.Progressing, count, nil
	case running < wanted, others > 0:
		return belay.Progressing, count, nil
	}
	return belay.Converged, "", nil
}

// troubles returns the engine's words on the places where no task runs, or
// nothing. A place is in trouble when its newest task that says anything has
// failed, was rejected, or finds no node.
func troubles(service string, places map[string][]swarm.Task) string {
	var said []string
	for _, tasks := range places {
		slices.SortFunc(tasks, func(a, b swarm.Task) int { return b.CreatedAt.Compare(a.CreatedAt) })
		for _, t := range tasks {
			if why := trouble(t); why != "" {
				said = append(said, fmt.Sprintf("task %s: %s", taskName(service, t), why))
				break
			}
			if t.Status.State == swarm.TaskStateRunning || t.Status.State == swarm.TaskStateShutdown {
				break
			}
		}
	}
	slices.Sort(said)
	const enough = 2
	if more := len(said) - enough; more > 0 {
		said = append(said[:enough], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(said, "; ")
}

func trouble(t swarm.Task) string {
	switch t.Status.State {
	case swarm.TaskStateRejected, swarm.TaskStateFailed:
		exit := ""
		if c := t.Status.ContainerStatus; c != nil && c.ExitCode != 0 {
			exit = fmt.Sprintf("exit code %d", c.ExitCode)
		}
		return cmp.Or(t.Status.Err, exit, t.Status.Message, string(t.Status.State))
	case swarm.TaskStateComplete:
		return "it ended with exit code 0"
	case swarm.TaskStatePending:
		return t.Status.Err // such as: no suitable node
	}
	return ""
}

func taskName(service string, t swarm.Task) string {
	if t.Slot > 0 {
		return fmt.Sprintf("%s.%d", service, t.Slot)
	}
	return fmt.Sprintf("%s on node %s", service, t.NodeID)
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// owner says who would undo a change: Swarm itself, while it is set to take an
// update back that it is carrying out, or does so already.
func owner(svc swarm.Service) string {
	u := svc.UpdateStatus
	switch {
	case u == nil:
		return ""
	case u.State == swarm.UpdateStateRollbackStarted:
		return "Swarm, which is rolling this service back by itself,"
	case u.State == swarm.UpdateStateUpdating && svc.Spec.UpdateConfig != nil && svc.Spec.UpdateConfig.FailureAction == swarm.UpdateFailureActionRollback:
		return "Swarm, whose update_config.failure_action is rollback and whose update is under way,"
	}
	return ""
}
