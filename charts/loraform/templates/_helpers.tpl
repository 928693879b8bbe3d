{{/* Names are fixed: pods of users' namespaces find the operator by them, and one namespace holds one operator. */}}
{{- define "loraform.name" -}}loraform-operator{{- end }}

{{/* Cluster-wide objects carry the namespace, so that two operators with disjoint watchNamespaces can stand side by side. */}}
{{- define "loraform.clusterName" -}}loraform-operator-{{ .Release.Namespace }}{{- end }}

{{- define "loraform.selector" -}}
app.kubernetes.io/name: loraform-operator
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "loraform.labels" -}}
{{ include "loraform.selector" . }}
app.kubernetes.io/part-of: loraform
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* An image reference; the argument is a list of one image's values and the chart's appVersion. */}}
{{- define "loraform.image" -}}
{{- $image := index . 0 -}}
{{- $name := printf "%s/%s" $image.registry $image.repository -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $name $image.digest }}
{{- else -}}
{{ printf "%s:%s" $name (default (index . 1) $image.tag) }}
{{- end -}}
{{- end }}

{{/* The operator's configuration file. */}}
{{- define "loraform.config" -}}
images:
  trainer: {{ include "loraform.image" (list .Values.images.trainer .Chart.AppVersion) | quote }}
  verifier: {{ include "loraform.image" (list .Values.images.verifier .Chart.AppVersion) | quote }}
  gateway: {{ include "loraform.image" (list .Values.images.gateway .Chart.AppVersion) | quote }}
profiles:
  {{- toYaml .Values.profiles | nindent 2 }}
{{- with .Values.settings }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the operator may do in a namespace that it serves. */}}
{{- define "loraform.rules" -}}
- apiGroups: [loraform.dev]
  resources: [finetunejobs, iacmodels]
  verbs: [get, list, watch]
- apiGroups: [loraform.dev]
  resources: [finetunejobs/status, iacmodels/status]
  verbs: [patch, update]
- apiGroups: [loraform.dev] # to own children with blockOwnerDeletion
  resources: [finetunejobs/finalizers, iacmodels/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""] # created once and never deleted: the owner's removal takes the workspace, the store is the user's
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""] # list: the Job controller's events alone say why a Job has no pod
  resources: [events]
  verbs: [list, create, patch]
{{- if .Values.flux.enabled }}
- apiGroups: [source.toolkit.fluxcd.io] # what a `fluxSource` offers when a run begins
  resources: [gitrepositories, ocirepositories, buckets]
  verbs: [get]
{{- end }}
{{- end }}
