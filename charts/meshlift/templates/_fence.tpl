{{/* Parts that the policies of the operator fence have in common. */}}

{{/* The object before and after, and whether it belongs to a Helm release of a control plane. */}}
{{- define "meshlift.fence.variables" -}}
- name: controlPlaneNamespaces
  expression: {{ .Values.controlPlaneNamespaces | toJson | squote }}
- name: versions
  expression: "[dyn(object), dyn(oldObject)].filter(o, o != null)"
- name: ofHelmRelease
  expression: >-
    variables.versions.all(o,
    o.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'Helm' &&
    o.metadata.?annotations[?'meta.helm.sh/release-namespace'].orValue('') in variables.controlPlaneNamespaces)
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
