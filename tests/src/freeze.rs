//! A change freeze, as companies have it.

/// Nobody but Kubernetes itself changes workloads of such namespaces.
pub const FREEZE: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: change-freeze }
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: { matchLabels: { freeze: "true" } }
    resourceRules: [{ apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments, statefulsets, daemonsets] }]
  validations:
    - expression: "request.userInfo.groups.exists(g, g == 'system:masters') || request.userInfo.username.startsWith('system:kube') || request.userInfo.username.startsWith('system:serviceaccount:kube-system:')"
      message: the namespace is frozen
      reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: change-freeze }
spec: { policyName: change-freeze, validationActions: [Deny] }
"#;
