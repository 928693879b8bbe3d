{{/* Names carry the release, so that releases with disjoint watchNamespaces stand side by side, also in one namespace.
The longest name made of this one is that of the Service for metrics, which may have 63 characters. */}}
{{- define "loraform.name" -}}{{ .Release.Name | trunc 46 | trimSuffix "-" }}-operator{{- end }}

{{- define "loraform.accountName" -}}{{ .Values.serviceAccount.name | default (include "loraform.name" .) }}{{- end }}

{{/* Cluster-wide objects carry the namespace too. */}}
{{- define "loraform.clusterName" -}}{{ include "loraform.name" . }}-{{ .Release.Namespace }}{{- end }}

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
