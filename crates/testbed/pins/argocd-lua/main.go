// Runs the health checks and the actions of deploy/argocd with the code that Argo CD itself runs them with.
//
//	argocd-lua test SCRIPTS CUSTOMIZATIONS
//	argocd-lua run SCRIPTS < objects.json
//
// SCRIPTS is a folder in the layout of resource_customizations, or a file with the ConfigMap argocd-cm. The runner of
// Argo CD cannot be imported: it is a test of its own, and reads the scripts that are compiled into Argo CD.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "test":
		scripts, err := load(args[1])
		if err != nil {
			return err
		}
		return runTables(scripts, args[2])
	case len(args) == 2 && args[0] == "run":
		scripts, err := load(args[1])
		if err != nil {
			return err
		}
		return describeAll(scripts, os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("usage: argocd-lua test SCRIPTS CUSTOMIZATIONS | argocd-lua run SCRIPTS < objects.json")
	}
}

// described is what Argo CD shows of an object, and what each action that it offers would make of it.
type described struct {
	// None if Argo CD has no health check for the kind.
	Health   *healthOf                  `json:"health"`
	Disabled []string                   `json:"disabled"`
	Actions  map[string]json.RawMessage `json:"actions"`
}

type healthOf struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func describeAll(scripts scripts, in io.Reader, out io.Writer) error {
	var objects []json.RawMessage
	if err := json.NewDecoder(in).Decode(&objects); err != nil {
		return fmt.Errorf("standard input is not a JSON list of objects: %w", err)
	}
	all := make([]described, 0, len(objects))
	for _, text := range objects {
		// As a client reads them, with whole numbers where JSON has them.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil {
			return err
		}
		one, err := describe(scripts, object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		all = append(all, one)
	}
	return json.NewEncoder(out).Encode(all)
}

func describe(scripts scripts, object *unstructured.Unstructured) (described, error) {
	one := described{Disabled: []string{}, Actions: map[string]json.RawMessage{}}
	health, err := scripts.health(object)
	if err != nil {
		return one, err
	}
	if health != nil {
		one.Health = &healthOf{Status: string(health.Status), Message: health.Message}
	}
	actions, err := scripts.discover(object)
	if err != nil {
		return one, err
	}
	for _, action := range actions {
		if action.Disabled {
			one.Disabled = append(one.Disabled, action.Name)
			continue
		}
		after, err := scripts.act(object, action.Name)
		if err != nil {
			return one, fmt.Errorf("action %s: %w", action.Name, err)
		}
		if one.Actions[action.Name], err = json.Marshal(after.Object); err != nil {
			return one, err
		}
	}
	return one, nil
}
