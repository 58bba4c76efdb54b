{{/* Parts that the policies of the operator fence have in common. */}}

{{/* The object before and after, and whether it belongs to a Helm release of a control plane. */}}
{{- define "meshlift.fence.variables" -}}
- name: controlPlaneNamespaces
  expression: {{ .Values.controlPlaneNamespaces | toJson | squote }}
# Other releases in the namespaces of istiod (dashboards, certificate agents) are not Istio's.
- name: releases
  expression: {{ .Values.helmReleases | toJson | squote }}
- name: versions
  expression: "[dyn(object), dyn(oldObject)].filter(o, o != null)"
- name: ofHelmRelease
  expression: >-
    variables.versions.all(o,
    o.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'Helm' &&
    o.metadata.?annotations[?'meta.helm.sh/release-namespace'].orValue('') in variables.controlPlaneNamespaces &&
    (o.metadata.?annotations[?'meta.helm.sh/release-name'].orValue('') in variables.releases ||
    o.metadata.?annotations[?'meta.helm.sh/release-name'].orValue('').startsWith('istiod-')))
{{- end }}

{{/* Whether a label or annotation may come from somebody else's admission plugin: policies judge the sum of what we
asked for and of what such plugins added to it, and cannot tell them apart. A key that switches something on or off,
names an image, or belongs to Kubernetes, Istio, Helm or Meshlift never may. */}}
{{- define "meshlift.fence.free" -}}
!key.matches('(^|[.])(kubernetes|k8s|istio|meshlift|helm)[.](io|sh)/|inject|image|exclude|ignore|skip|enforce|disable')
{{- end }}

{{/* Labels where only ours changed, and others may have been added: list variable ours. */}}
{{- define "meshlift.fence.labelsKept" -}}
{{- $all := index . 0 }}{{ $ours := index . 1 -}}
{{ $all }}[1].all(key, key in {{ $ours }} || (key in {{ $all }}[0] && {{ $all }}[0][key] == {{ $all }}[1][key])) &&
{{ $all }}[0].all(key, key in {{ $ours }} || key in {{ $all }}[1] || {{ include "meshlift.fence.free" . }})
{{- end }}

{{/* Annotations where only ours changed, and others may have been added or brought up to date: list variable ours. */}}
{{- define "meshlift.fence.annotationsKept" -}}
{{- $all := index . 0 }}{{ $ours := index . 1 -}}
{{ $all }}[1].all(key, key in {{ $ours }} || (key in {{ $all }}[0] &&
({{ $all }}[0][key] == {{ $all }}[1][key] || {{ include "meshlift.fence.free" . }}))) &&
{{ $all }}[0].all(key, key in {{ $ours }} || key in {{ $all }}[1] || {{ include "meshlift.fence.free" . }})
{{- end }}

{{/* The beginning of a policy of the fence, which holds only for the operator's own account: list root name. */}}
{{- define "meshlift.fence.head" -}}
{{- $root := index . 0 }}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: meshlift-operator-fence-{{ index . 1 }}
  labels:
    {{- include "meshlift.labels" $root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConditions:
    - name: the-operator-itself
      expression: request.userInfo.username == 'system:serviceaccount:{{ $root.Release.Namespace }}:{{ include "meshlift.serviceAccountName" $root }}'
{{- end }}

{{/* The binding of a policy of the fence: list root name. */}}
{{- define "meshlift.fence.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: meshlift-operator-fence-{{ index . 1 }}
  labels:
    {{- include "meshlift.labels" (index . 0) | nindent 4 }}
spec:
  policyName: meshlift-operator-fence-{{ index . 1 }}
  validationActions: [Deny]
{{- end }}
