package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// healthTable and actionTable have the fields of Argo CD's own runner.
type healthTable struct {
	Tests []struct {
		InputPath    string   `json:"inputPath"`
		HealthStatus healthOf `json:"healthStatus"`
	} `json:"tests"`
}

type actionTable struct {
	DiscoveryTests []struct {
		InputPath string                 `json:"inputPath"`
		Result    []appv1.ResourceAction `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

// results of all tables: each failure is reported, not only the first.
type results struct {
	scripts  scripts
	run      int
	failures []string
	// Scripts that a test ran, by path below the customizations.
	tested map[string]bool
}

func runTables(scripts scripts, root string) error {
	results := results{scripts: scripts, tested: map[string]bool{}}
	var all []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		switch entry.Name() {
		case "health.lua", "discovery.lua", "action.lua":
			all = append(all, path)
		case "health_test.yaml":
			return results.healthTests(folder, path)
		case "action_test.yaml":
			return results.actionTests(folder, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, script := range all {
		if !results.tested[script] {
			results.fail("%s: no test runs it", script)
		}
	}
	if len(results.failures) > 0 {
		return errors.New(strings.Join(results.failures, "\n"))
	}
	fmt.Printf("%d tests of %d scripts passed\n", results.run, len(all))
	return nil
}

func (r *results) fail(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *results) healthTests(folder, path string) error {
	var table healthTable
	if err := readStrict(path, &table); err != nil {
		return err
	}
	for _, test := range table.Tests {
		r.run++
		r.tested[filepath.Join(folder, "health.lua")] = true
		input := filepath.Join(folder, test.InputPath)
		object, err := readObject(input)
		if err != nil {
			return err
		}
		found, err := r.scripts.health(object)
		if err != nil || found == nil {
			r.fail("%s: no health (%v)", input, err)
			continue
		}
		actual := healthOf{Status: string(found.Status), Message: found.Message}
		if actual != test.HealthStatus {
			r.fail("%s: expected %+v, but Argo CD shows %+v", input, test.HealthStatus, actual)
		}
	}
	return nil
}

func (r *results) actionTests(folder, path string) error {
	var table actionTable
	if err := readStrict(path, &table); err != nil {
		return err
	}
	for _, test := range table.DiscoveryTests {
		r.run++
		r.tested[filepath.Join(folder, "discovery.lua")] = true
		input := filepath.Join(folder, test.InputPath)
		object, err := readObject(input)
		if err != nil {
			return err
		}
		actual, err := r.scripts.discover(object)
		byName := func(a, b appv1.ResourceAction) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(actual, byName)
		slices.SortFunc(test.Result, byName)
		// Argo CD's own runner accepts a list in which some are missing.
		if err != nil || !reflect.DeepEqual(actual, test.Result) {
			r.fail("%s: expected actions %+v, but Argo CD offers %+v (%v)", input, test.Result, actual, err)
		}
	}
	for _, test := range table.ActionTests {
		r.run++
		r.tested[filepath.Join(folder, test.Action, "action.lua")] = true
		output := filepath.Join(folder, test.ExpectedOutputPath)
		if err := r.actionTest(test.Action, filepath.Join(folder, test.InputPath), output); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) actionTest(action, input, output string) error {
	before, err := readObject(input)
	if err != nil {
		return err
	}
	expected, err := readObject(output)
	if err != nil {
		return err
	}
	actual, err := r.scripts.act(before, action)
	if err != nil {
		r.fail("%s: action %s: %v", input, action, err)
		return nil
	}
	if err := hideTimes(actual); err != nil {
		r.fail("%s: action %s: %v", input, action, err)
		return nil
	}
	want, got, err := texts(expected, actual)
	if err == nil && want != got {
		r.fail("%s: action %s does not make %s of it, but:\n%s", input, action, output, got)
	}
	return err
}

// hiddenTime stands in expected objects where an action writes the present time, as in the tests of Argo CD.
const hiddenTime = "0001-01-01T00:00:00Z"

// hideTimes replaces what an action wrote a moment ago.
func hideTimes(object *unstructured.Unstructured) error {
	annotations := object.GetAnnotations()
	for _, name := range []string{"meshlift.io/retry", "meshlift.io/redetect"} {
		value, exists := annotations[name]
		if !exists {
			continue
		}
		written, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return fmt.Errorf("annotation %s: %w", name, err)
		}
		if age := time.Since(written); age < -time.Minute || age > time.Minute {
			return fmt.Errorf("annotation %s: %s is not the present time", name, value)
		}
		annotations[name] = hiddenTime
	}
	if len(annotations) > 0 {
		object.SetAnnotations(annotations)
	}
	return nil
}

// texts of both, in which numbers are alike: those that were in Lua are floats.
func texts(expected, actual *unstructured.Unstructured) (string, string, error) {
	want, err := json.MarshalIndent(expected.Object, "", "  ")
	if err != nil {
		return "", "", err
	}
	got, err := json.MarshalIndent(actual.Object, "", "  ")
	return string(want), string(got), err
}

func readStrict(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readObject reads it as Argo CD's runner does, with numbers as floats.
func readObject(path string) (*unstructured.Unstructured, error) {
	object := map[string]any{}
	err := readStrict(path, &object)
	return &unstructured.Unstructured{Object: object}, err
}
