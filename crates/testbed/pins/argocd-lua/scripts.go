package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/argoproj/argo-cd/gitops-engine/v3/pkg/health"
	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// scripts by group and kind, as Argo CD has them when they come from its ConfigMap: without the standard libraries of
// Lua, which health checks of its own may use.
type scripts map[string]appv1.ResourceOverride

func load(path string) (scripts, error) {
	about, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if about.IsDir() {
		return fromFolder(path)
	}
	return fromConfigMap(path)
}

// fromConfigMap reads the ConfigMap with Argo CD's own reader, which splits the names of the keys.
func fromConfigMap(path string) (scripts, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if config.Name != "argocd-cm" || len(config.Data) == 0 {
		return nil, fmt.Errorf("%s is not the ConfigMap argocd-cm with data", path)
	}
	// Argo CD reads only a ConfigMap that has this label. Ours is a patch, so that of the real one stays.
	config.Labels = map[string]string{"app.kubernetes.io/part-of": "argocd"}
	config.Namespace = "argocd"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: "argocd-secret", Namespace: "argocd", Labels: config.Labels,
	}}
	client := fake.NewClientset(&config, secret)
	return settings.NewSettingsManager(context.Background(), client, "argocd").GetResourceOverrides()
}

// fromFolder reads GROUP/KIND/health.lua and GROUP/KIND/actions.
func fromFolder(root string) (scripts, error) {
	kinds, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil {
		return nil, err
	}
	all := scripts{}
	for _, folder := range kinds {
		var one appv1.ResourceOverride
		if one.HealthLua, err = optional(filepath.Join(folder, "health.lua")); err != nil {
			return nil, err
		}
		if one.Actions, err = actionsIn(filepath.Join(folder, "actions")); err != nil {
			return nil, err
		}
		kind, err := filepath.Rel(root, folder)
		if err != nil {
			return nil, err
		}
		all[kind] = one
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there are no scripts in %s", root)
	}
	return all, nil
}

func actionsIn(folder string) (string, error) {
	discovery, err := optional(filepath.Join(folder, "discovery.lua"))
	if err != nil || discovery == "" {
		return "", err
	}
	actions := appv1.ResourceActions{ActionDiscoveryLua: discovery}
	files, err := filepath.Glob(filepath.Join(folder, "*", "action.lua"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		name := filepath.Base(filepath.Dir(file))
		actions.Definitions = append(actions.Definitions,
			appv1.ResourceActionDefinition{Name: name, ActionLua: string(text)})
	}
	text, err := yaml.Marshal(actions)
	return string(text), err
}

func optional(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

func (s scripts) health(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	return lua.ResourceHealthOverrides(s).GetResourceHealth(object)
}

func (s scripts) discover(object *unstructured.Unstructured) ([]appv1.ResourceAction, error) {
	vm := lua.VM{ResourceOverrides: s}
	found, err := vm.GetResourceActionDiscovery(object)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return vm.ExecuteResourceActionDiscovery(object, found)
}

// act returns the object as an action leaves it. An action that changes anything else is an error.
func (s scripts) act(object *unstructured.Unstructured, name string) (*unstructured.Unstructured, error) {
	vm := lua.VM{ResourceOverrides: s}
	action, err := vm.GetResourceAction(object, name)
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(object, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	if len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		return nil, fmt.Errorf("it does not patch one object, but changes %d", len(impacted))
	}
	return impacted[0].UnstructuredObj, nil
}
